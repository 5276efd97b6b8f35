"""The parts of a run from a configuration, who plays its enemies, what is refused, and what is saved and read."""
