"""What recorded runs and played games say: pure statistics, tables, figures."""
