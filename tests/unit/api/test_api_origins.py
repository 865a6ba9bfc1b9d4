"""Which hosts the API has, and the pages of which sites may use it."""

from typing import Any

import httpx
import pytest
from still_engine import StillEngine

from pylon_workflows.api.app import create_app
from pylon_workflows.errors import InvalidInputError

TOKEN = {"authorization": "Bearer t"}
APP = "https://app.example"


async def ask(engine: StillEngine, method: str, path: str, headers: Any, **options: Any) -> httpx.Response:
    app = create_app(engine, token="t", **options)
    transport = httpx.ASGITransport(app, client=("203.0.113.9", 5))
    async with httpx.AsyncClient(transport=transport, base_url="https://api.example") as client:
        request = client.build_request(method, path)
        request.headers = httpx.Headers(headers)
        return await client.send(request)


@pytest.mark.parametrize(
    ("host", "is_known"),
    [
        ("api.example", True),
        ("API.Example:8443", True),
        ("a.tenants.example", True),
        ("a.b.tenants.example", True),
        ("tenants.example", False),
        ("eviltenants.example", False),
        ("api.example.evil.example", False),
        ("api.example@evil.example", False),
        ("203.0.113.1", False),
        ("[::1]:80", True),
        ("", False),
        ("\xff", False),
    ],
)
async def test_a_request_for_another_host_is_421(engine: StillEngine, host: str, is_known: bool) -> None:
    hosts = ["api.example", "*.tenants.example", "[::1]"]
    headers = [(b"host", host.encode("latin-1")), (b"authorization", b"Bearer t")]
    answer = await ask(engine, "GET", "/", headers, allowed_hosts=hosts)
    assert answer.status_code == (200 if is_known else 421)
    if not is_known:
        assert answer.json()["code"] == "unknown-host"


@pytest.mark.parametrize("headers", [[], [(b"host", b"api.example"), (b"host", b"api.example")]])
async def test_no_host_or_two_are_421(engine: StillEngine, headers: Any) -> None:
    assert (await ask(engine, "GET", "/", headers, allowed_hosts=["api.example"])).status_code == 421


async def test_a_probe_asks_by_address(engine: StillEngine) -> None:
    headers = {"host": "10.0.0.7:8765"}
    assert (await ask(engine, "GET", "/healthz", headers, allowed_hosts=["api.example"])).status_code == 200
    assert (await ask(engine, "POST", "/healthz", headers, allowed_hosts=["api.example"])).status_code == 421


@pytest.mark.parametrize(
    "hosts", ["api.example", ["api.example:80"], ["https://api.example"], [""], ["*"], ["a b"], [None], ["*.*.example"]]
)
def test_hosts_that_are_none_are_refused_at_once(engine: StillEngine, hosts: Any) -> None:
    with pytest.raises(InvalidInputError, match="allowed_hosts: "):
        create_app(engine, allowed_hosts=hosts).build_middleware_stack()


@pytest.mark.parametrize(
    "origins", [APP, ["*"], ["app.example"], [f"{APP}/"], ["null"], [""], [None], ["https://*.example"], ["ftp://a"]]
)
def test_origins_that_are_none_are_refused_at_once(engine: StillEngine, origins: Any) -> None:
    with pytest.raises(InvalidInputError, match="cors_origins: "):
        create_app(engine, cors_origins=origins)


def preflight(origin: str) -> dict[str, str]:
    return {
        "host": "api.example",
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }


async def test_unless_it_is_asked_for_no_page_may_use_the_api(engine: StillEngine) -> None:
    for method, headers in (("OPTIONS", preflight(APP)), ("GET", {"host": "api.example", "origin": APP, **TOKEN})):
        answer = await ask(engine, method, "/start", headers)
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert answer.status_code in (401, 405)


async def test_a_preflight_of_a_known_site_is_answered_without_a_token(engine: StillEngine) -> None:
    answer = await ask(engine, "OPTIONS", "/start", preflight(APP), cors_origins=[APP])
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == APP
    assert answer.headers["access-control-allow-methods"] == "GET, POST, DELETE"
    allowed = answer.headers["access-control-allow-headers"].lower().split(", ")
    assert {"authorization", "content-type", "idempotency-key", "last-event-id"} <= set(allowed)
    assert "access-control-allow-credentials" not in answer.headers
    assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize("origin", ["https://evil.example", "http://app.example", "null", "https://app.example:8443"])
async def test_a_preflight_of_another_site_is_refused(engine: StillEngine, origin: str) -> None:
    answer = await ask(engine, "OPTIONS", "/start", preflight(origin), cors_origins=[APP])
    assert (answer.status_code, answer.json()["code"]) == (403, "foreign-origin")
    assert "access-control-allow-origin" not in answer.headers


async def test_a_preflight_for_another_host_is_refused(engine: StillEngine) -> None:
    options: dict[str, Any] = {"cors_origins": [APP], "allowed_hosts": ["api.example"]}
    headers = preflight(APP) | {"host": "evil.example"}
    assert (await ask(engine, "OPTIONS", "/start", headers, **options)).status_code == 421
    assert (await ask(engine, "OPTIONS", "/start", preflight(APP), **options)).status_code == 204


async def test_a_known_sites_page_reads_answers_and_refusals(engine: StillEngine) -> None:
    headers = {"host": "api.example", "origin": APP}
    for more, status in ((TOKEN, 200), ({}, 401)):
        answer = await ask(engine, "GET", "/", headers | more, cors_origins=[APP])
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (status, APP)
        assert "Link" in answer.headers["access-control-expose-headers"]
    answer = await ask(engine, "GET", "/", headers | TOKEN | {"origin": "https://evil.example"}, cors_origins=[APP])
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["vary"] == "Origin"


async def test_options_without_a_question_are_no_preflight(engine: StillEngine) -> None:
    headers = {"host": "api.example", "origin": APP}
    assert (await ask(engine, "OPTIONS", "/start", headers, cors_origins=[APP])).status_code == 401
    assert (await ask(engine, "OPTIONS", "/start", headers | TOKEN, cors_origins=[APP])).status_code == 405
