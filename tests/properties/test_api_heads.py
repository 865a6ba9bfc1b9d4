"""Whatever stands in the head of a request is answered, and lets in nobody who has no token."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from pylon_workflows import create_app
from pylon_workflows.testing import engine_in_memory

NAMES = (
    b"authorization", b"host", b"origin", b"access-control-request-method", b"x-forwarded-for", b"forwarded", b"cookie",
    b"content-type", b"content-length",
)  # fmt: skip
TEXTS = (
    b"Bearer s3cret2", b"Bearer", b"bearer  ", b"Bearer pw_aaaaaaaaaaaa_" + b"b" * 43, b"Basic czM=", b"localhost",
    b"api.example", b"https://app.example", b"null", b"POST", b"127.0.0.1:80", b"[::1]", b"*",
)  # fmt: skip
HEADS = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(TEXTS) | st.binary(max_size=60)), max_size=6)
METHODS = st.sampled_from(["GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "BREW"])
PATHS = st.sampled_from(
    ["/", "", "/start", "/definitions", "/openapi.json", "/wf_x", "/wf_x/event", "/healthz/", "/x/y/z"]
)


async def status(method: str, path: str, headers: list[tuple[bytes, bytes]], options: dict) -> tuple[int, bytes]:
    async with engine_in_memory(None) as engine:
        await engine.create_token(["admin"])
        app = create_app(engine, allowed_hosts=["api.example"], cors_origins=["https://app.example"], **options)
        said: list[dict] = []

        async def receive() -> dict:
            return {"type": "http.request", "body": b"{}", "more_body": False}

        async def send(message: dict) -> None:
            said.append(message)

        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path,
            "raw_path": path.encode(), "root_path": "", "query_string": b"", "headers": headers,
            "client": ("127.0.0.1", 5), "server": ("x", 80), "scheme": "http",
        }  # fmt: skip
        await app(scope, receive, send)
        return said[0]["status"], b"".join(message.get("body", b"") for message in said[1:])


@settings(max_examples=300, deadline=None)
@given(METHODS, PATHS, HEADS, st.booleans())
def test_no_head_is_too_odd_and_none_without_a_token_gets_in(method, path, headers, has_authorize) -> None:
    options = {"authorize": lambda request: request.headers.get("cookie") == "s3cret2"} if has_authorize else {}
    answered, body = asyncio.run(status(method, path, [*headers, (b"host", b"api.example")], options))
    is_preflight = method == "OPTIONS" and answered == 204
    assert answered in (401, 403, 421) or is_preflight
    assert is_preflight or method == "HEAD" or body.startswith(b'{"type":"urn:pylon-workflows:problem:')
