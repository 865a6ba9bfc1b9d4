"""A runner with secrets answers whoever signs, and nobody else; nothing of a request is read before."""

import json
import time
from typing import Any

import httpx
import pytest
from playing import request_for

from runner_protocol import Context, Runner, workflow
from runner_protocol.signing import SECRETS_VARIABLE, SigningKeys

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
KEYS = SigningKeys([SECRET])
DESCRIBE = b'{"protocol":2,"mode":"describe"}'


@workflow("one")
async def one(ctx: Context, input: Any) -> Any:
    return await ctx.step("first", lambda: 1)


def signed(body: bytes, *, keys: SigningKeys = KEYS, late_s: int = 0) -> dict[str, str]:
    signed_at = int(time.time()) - late_s
    values = {"webhook-id": "m1", "webhook-timestamp": str(signed_at)}
    return values | {"webhook-signature": keys.sign("m1", signed_at, body)}


async def post(runner: Runner, body: bytes, headers: dict[str, str]) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(runner.app), base_url="http://runner") as client:
        return await client.post("/run", content=body, headers=headers)


@pytest.mark.parametrize("body", [json.dumps(request_for("one")).encode(), DESCRIBE])
async def test_a_signed_request_is_answered(body: bytes) -> None:
    reply = await post(Runner([one], secrets=[SECRET]), body, signed(body))
    assert (reply.status_code, "action" in reply.json()) == (200, True)


async def test_in_a_stream_too() -> None:
    body = json.dumps(request_for("one")).encode()
    headers = signed(body) | {"accept": "application/x-ndjson"}
    assert (await post(Runner([one], secrets=[SECRET]), body, headers)).text.count("\n") == 2


@pytest.mark.parametrize("body", [json.dumps(request_for("one")).encode(), DESCRIBE, b"no JSON at all"])
async def test_any_other_is_refused_unread_and_told_why(body: bytes) -> None:
    runner = Runner([one], secrets=[SECRET])
    another = SigningKeys(["whsec_" + "B" * 32])
    for headers, why in (
        ({}, "webhook-id is missing"),
        (signed(body + b" "), "no signature of it"),
        (signed(body, keys=another), "no signature of it"),
        (signed(body, late_s=310), "look at both clocks"),
        (signed(body, late_s=-310), "look at both clocks"),
    ):
        reply = await post(runner, body, headers)
        assert (reply.status_code, list(reply.json())) == (401, ["error"])
        assert why in reply.json()["error"]
        assert SECRET not in reply.text


async def test_a_large_request_is_checked_too() -> None:
    body = json.dumps(request_for("one", input="x" * 300_000)).encode()
    runner = Runner([one], secrets=[SECRET])
    assert (await post(runner, body, signed(body))).status_code == 200
    assert (await post(runner, body, signed(body[:-1]))).status_code == 401


async def test_the_environment_may_have_the_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRETS_VARIABLE, SECRET)
    runner = Runner([one])
    assert (await post(runner, DESCRIBE, {})).status_code == 401
    assert (await post(runner, DESCRIBE, signed(DESCRIBE))).status_code == 200


async def test_without_secrets_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SECRETS_VARIABLE, raising=False)
    assert (await post(Runner([one]), DESCRIBE, {})).status_code == 200


async def test_within_the_process_nothing_is_asked() -> None:
    status, reply = await Runner([one], secrets=[SECRET]).handle(DESCRIBE)
    assert (status, json.loads(reply)["action"]) == (200, "description")


@pytest.mark.parametrize("secrets", [[], ["changeme"], SECRET])
def test_secrets_that_are_none_are_refused_when_the_runner_is_made(secrets: Any) -> None:
    with pytest.raises(ValueError, match="secrets: "):
        Runner([one], secrets=secrets)
