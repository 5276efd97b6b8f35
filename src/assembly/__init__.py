"""The parts of a run from a configuration, what is refused of them, and what of them is saved and read."""
