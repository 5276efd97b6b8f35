"""Recording runs as files, copying them to MongoDB, reading them back from either."""
