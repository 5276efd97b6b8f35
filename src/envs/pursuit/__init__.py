"""Pursuit evasion on a torus."""
