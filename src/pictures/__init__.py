"""Pictures and videos of environments, which import nothing of it."""
