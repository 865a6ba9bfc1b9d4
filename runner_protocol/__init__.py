"""The step protocol between the engine and its runners: messages, the Python kit, the conformance checker."""
