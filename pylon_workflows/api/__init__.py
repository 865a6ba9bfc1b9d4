"""The HTTP API, mounted by a web app or by `serve`."""
