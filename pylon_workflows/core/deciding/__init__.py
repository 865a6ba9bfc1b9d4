"""The rules of `decider.py` by topic."""
