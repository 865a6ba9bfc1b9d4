"""The Python runner kit."""
