"""How fast the engine is, against what the machine can do in the same minute: `python -m benchmarks` (README.md)."""
