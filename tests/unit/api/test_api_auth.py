from typing import Any

import httpx
import pytest
from still_engine import StillEngine

from pylon_workflows.api.app import create_app
from pylon_workflows.api.origins import is_loopback
from pylon_workflows.errors import InvalidInputError
from pylon_workflows.hooks import create_hooks_app
from pylon_workflows.workflow_engine import WorkflowEngine

Headers = list[tuple[bytes, bytes]]


async def ask(
    engine: StillEngine,
    headers: Headers,
    *,
    token: str | None = None,
    peer: tuple[str, int] | None = ("127.0.0.1", 1),
    path: str = "/",
    method: str = "GET",
) -> httpx.Response:
    """Ask with exactly these headers."""
    transport = httpx.ASGITransport(create_app(engine, token=token), client=peer)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport) as client:
        request = client.build_request(method, f"http://localhost{path}")
        request.headers = httpx.Headers(headers)
        return await client.send(request)


class TestWithAToken:
    async def test_the_token_opens(self, engine: StillEngine) -> None:
        for scheme in (b"Bearer", b"bearer", b"BEARER"):
            answer = await ask(engine, [(b"authorization", scheme + b" s3cret")], token="s3cret")
            assert answer.status_code == 200

    async def test_it_opens_from_anywhere_and_through_proxies(self, engine: StillEngine) -> None:
        headers = [(b"authorization", b"Bearer s3cret"), (b"x-forwarded-for", b"1.2.3.4"), (b"host", b"api.example")]
        answer = await ask(engine, headers, token="s3cret", peer=("10.0.0.7", 5))
        assert answer.status_code == 200

    async def test_no_token_is_401_and_told_how(self, engine: StillEngine) -> None:
        answer = await ask(engine, [], token="s3cret")
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
        assert answer.headers["www-authenticate"] == 'Bearer realm="pylon-workflows"'
        assert answer.headers["content-type"] == "application/problem+json"

    @pytest.mark.parametrize(
        "values",
        [
            [b"Bearer wrong"],
            [b"Bearer s3cre"],
            [b"Bearer s3cret2"],
            [b"Bearer "],
            [b"Bearer"],
            [b""],
            [b"s3cret"],
            [b"Basic s3cret"],
            [b"Bearer s3cret x"],
            [b"Bearer \xff\xfe"],
            [b"Bearer s3cret", b"Bearer s3cret"],
        ],
    )
    async def test_another_header_is_401(self, engine: StillEngine, values: list[bytes]) -> None:
        answer = await ask(engine, [(b"authorization", value) for value in values], token="s3cret")
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/"),
            ("POST", "/start"),
            ("GET", "/definitions"),
            ("GET", "/openapi.json"),
            ("GET", "/wf_alice"),
            ("DELETE", "/wf_alice"),
            ("POST", "/wf_alice/event"),
            ("GET", "/wf_alice/history"),
            ("POST", "/healthz"),
            ("GET", "/nothing/here/at/all"),
        ],
    )
    async def test_every_route_wants_it(self, engine: StillEngine, method: str, path: str) -> None:
        assert (await ask(engine, [], token="s3cret", method=method, path=path)).status_code == 401

    async def test_a_probe_needs_none(self, engine: StillEngine) -> None:
        answer = await ask(engine, [], token="s3cret", path="/healthz", peer=("10.0.0.7", 5))
        assert (answer.status_code, answer.json()["status"]) == (200, "ok")

    @pytest.mark.parametrize("token", ["", "two words", "tab\t", "é", "line\n"])
    def test_a_token_that_no_header_can_carry_is_refused_at_once(self, engine: StillEngine, token: str) -> None:
        with pytest.raises(InvalidInputError, match="token:"):
            create_app(engine, token=token)

    def test_an_authorize_that_is_no_function_is_refused_at_once(self, engine: StillEngine) -> None:
        with pytest.raises(InvalidInputError, match="authorize: must be a function of the request, not bool"):
            create_app(engine, authorize=True)  # type: ignore[arg-type]


class TestWithoutAnEngine:
    @pytest.mark.parametrize("engine", ["fa.db", None, WorkflowEngine])
    def test_what_is_no_engine_is_refused_at_once(self, engine: Any) -> None:
        with pytest.raises(InvalidInputError, match=r"^engine: must be a WorkflowEngine, not (str|None|the class)"):
            create_app(engine)
        with pytest.raises(InvalidInputError, match=r"^engine: must be a WorkflowEngine, not (str|None|the class)"):
            create_hooks_app(engine)

    def test_limits_that_are_none_are_refused_at_once(self, engine: StillEngine) -> None:
        for create in (create_app, create_hooks_app):
            with pytest.raises(InvalidInputError, match=r"^limits: must be a Limits or None, not dict"):
                create(engine, limits={"max_streams": 1})  # type: ignore[arg-type]


class TestWithoutAToken:
    @pytest.mark.parametrize(
        "host", ["localhost", "LOCALHOST:8765", "127.0.0.1", "127.0.0.1:8765", "127.9.9.9", "[::1]", "[::1]:8765"]
    )
    async def test_a_loopback_host_is_answered(self, engine: StillEngine, host: str) -> None:
        assert (await ask(engine, [(b"host", host.encode())])).status_code == 200

    @pytest.mark.parametrize("peer", ["127.0.0.1", "127.0.0.53", "::1", "::ffff:127.0.0.1"])
    async def test_a_loopback_peer_is_answered(self, engine: StillEngine, peer: str) -> None:
        assert (await ask(engine, [(b"host", b"localhost")], peer=(peer, 5))).status_code == 200

    @pytest.mark.parametrize("peer", ["10.0.0.7", "203.0.113.9", "::2", "::ffff:10.0.0.7", "testclient", ""])
    async def test_another_peer_is_403(self, engine: StillEngine, peer: str) -> None:
        answer = await ask(engine, [(b"host", b"localhost")], peer=(peer, 5))
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        assert "without a token" in answer.json()["detail"]

    async def test_an_unknown_peer_is_403(self, engine: StillEngine) -> None:
        assert (await ask(engine, [(b"host", b"localhost")], peer=None)).status_code == 403

    @pytest.mark.parametrize(
        "host",
        [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "localhost@evil.example",
            "10.0.0.7:8765",
            "0.0.0.0",
            "",
            "localhost:8765:9",
            "[::2]",
            "::1",
            "localhost/",
            " localhost",
        ],
    )
    async def test_another_host_is_403(self, engine: StillEngine, host: str) -> None:
        answer = await ask(engine, [(b"host", host.encode())])
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")

    @pytest.mark.parametrize("headers", [[], [(b"host", b"localhost"), (b"host", b"localhost")]])
    async def test_no_host_or_two_are_403(self, engine: StillEngine, headers: Headers) -> None:
        assert (await ask(engine, headers)).status_code == 403

    @pytest.mark.parametrize(
        "name",
        [b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-x", b"via",
         b"x-real-ip"],
    )  # fmt: skip
    async def test_a_proxys_header_is_403(self, engine: StillEngine, name: bytes) -> None:
        answer = await ask(engine, [(b"host", b"localhost"), (name, b"127.0.0.1")])
        assert answer.status_code == 403
        assert name.decode() in answer.json()["detail"]

    @pytest.mark.parametrize(
        "origin", [b"https://evil.example", b"null", b"file://", b"http://localhost.evil.example", b"http://[::2]"]
    )
    async def test_a_page_of_another_site_is_403(self, engine: StillEngine, origin: bytes) -> None:
        headers = [(b"host", b"localhost"), (b"origin", origin), (b"content-type", b"text/plain")]
        answer = await ask(engine, headers, method="POST", path="/start")
        assert answer.status_code == 403

    @pytest.mark.parametrize("origin", [b"http://localhost:3000", b"https://127.0.0.1", b"http://[::1]:80"])
    async def test_a_page_of_this_machine_is_answered(self, engine: StillEngine, origin: bytes) -> None:
        assert (await ask(engine, [(b"host", b"localhost"), (b"origin", origin)])).status_code == 200

    async def test_the_probe_is_no_exception(self, engine: StillEngine) -> None:
        assert (await ask(engine, [(b"host", b"localhost")], peer=("10.0.0.7", 5), path="/healthz")).status_code == 403

    async def test_a_detail_quotes_bytes_that_are_no_text(self, engine: StillEngine) -> None:
        answer = await ask(engine, [(b"host", b"\xff\xfe")])
        assert answer.status_code == 403
        assert "ÿþ" in answer.json()["detail"]


def test_loopback_is_this_machine_and_nothing_else() -> None:
    assert all(map(is_loopback, ["localhost", "127.0.0.1", "127.255.0.1", "::1", "[::1]", "::ffff:127.0.0.1"]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "10.0.0.1", "example.org", "", "::ffff:8.8.8.8"]))
