"""Answers."""

from starlette.responses import Response


def json_response(text: bytes, status: int = 200) -> Response:
    """An answer of JSON that nobody is to keep."""
    return Response(text, status, {"cache-control": "no-store"}, "application/json")
