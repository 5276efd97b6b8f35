"""Evaluation of recorded runs and played games: pure statistics, tables, figures."""
