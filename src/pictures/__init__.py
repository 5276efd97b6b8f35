"""Pictures and videos of environments; environments know nothing of it."""
