"""Where a runner is, only the configuration says: nothing that comes over the wire can name another place."""

import httpx
import pytest

from pylon_workflows import HttpRunner, create_app
from pylon_workflows.testing import engine_in_memory
from runner_protocol.messages import Complete, StepComplete, encode_message
from tests.contracts.runner_contract import a_turn
from tests.faults.hostile_runner import Behaviour, Exchange, HostileRunner

ELSEWHERE = "http://127.0.0.1:1/run"
NAMES = ("url", "runner", "runner_url", "base_url", "endpoint", "file", "address", "callback_url")


async def test_no_body_of_the_api_and_no_answer_of_a_runner_leads_elsewhere() -> None:
    """Whatever claims to be an address is asked nothing: all requests come to the one runner that was configured."""
    asked: list[bytes] = []
    forged = dict.fromkeys(NAMES, ELSEWHERE)

    async def answer(exchange: Exchange) -> None:
        asked.append(exchange.body)
        is_first = len([body for body in asked if b'"describe"' not in body]) == 1
        action = StepComplete(step_name="a", key="a", output=forged) if is_first else Complete(output=forged)
        body = encode_message(action)[:-1] + b"".join(b',"%b":"%b"' % (n.encode(), ELSEWHERE.encode()) for n in NAMES)
        headers = b"location: %b\r\nx-runner-url: %b\r\n" % (ELSEWHERE.encode(), ELSEWHERE.encode())
        await exchange.answer(body + b"}", headers=headers)

    async with HostileRunner(Behaviour(answer, "answered")) as server:
        engine = engine_in_memory(HttpRunner(server.url))
        transport = httpx.ASGITransport(create_app(engine, token="t"))
        headers = {"authorization": "Bearer t", "x-runner-url": ELSEWHERE}
        async with engine, httpx.AsyncClient(transport=transport, base_url="http://x", headers=headers) as client:
            saved = await client.post("/definitions", json={"name": "order", **forged})
            assert saved.status_code in (201, 400)
            if saved.status_code == 400:
                assert (await client.post("/definitions", json={"name": "order"})).status_code == 201
            assert not set(NAMES) & set((await client.get("/definitions")).json()[0])
            started = await client.post("/start", json={"name": "order", "input": forged})
            instance = await engine.wait(started.json()["id"], timeout=10)
        assert (instance.status.value, instance.output) == ("completed", forged)
        assert len(asked) >= 2


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, ELSEWHERE)

    async def answer(exchange: Exchange) -> None:
        await exchange.answer(b'{"action":"complete"}')

    async with HostileRunner(Behaviour(answer, "answered")) as server, HttpRunner(server.url) as runner:
        taken = []

        async def apply(actions: object) -> bool:
            taken.append(actions)
            return True

        await runner.take_turn(a_turn(), apply)
        assert len(taken) == 1
