"""What `src/benchmark.py` measures."""
