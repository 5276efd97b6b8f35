"""Evaluation of recorded runs and played games: pure statistics, tables, figures."""

REFERENCE = "reference"  # said in place of a return: the mean last evaluation of the reference method
