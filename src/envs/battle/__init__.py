"""Battle: MAgent2's grid worlds, two sides that fight."""
