"""An HTTP/1.1 client on the event loop, for many small POSTs to one server.

Why our own: docs/decisions/0012-http-on-the-loop.md.
"""
