"""What `src/benchmark.py` measures and `src/doctor.py` checks."""
