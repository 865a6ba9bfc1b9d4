"""The conformance checker: plays the engine against any runner."""
