"""Everything about recorded runs: files, store, query, observers, checkpoints, index."""
