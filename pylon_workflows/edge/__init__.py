"""The server's edge: connections of `serve` that are slow, silent, endless or too many cost nobody else anything."""
