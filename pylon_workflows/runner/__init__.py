"""How a turn reaches a runner: over HTTP, or in the same process."""
