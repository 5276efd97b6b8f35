"""Playing: controllers in environments."""
