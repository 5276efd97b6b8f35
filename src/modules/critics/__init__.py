"""Networks that judge and never act."""
