"""`GET /{id}/explain`, and a start that waits."""

import asyncio

import httpx
import pytest
from still_engine import StillEngine

from pylon_workflows import WorkflowDefinition, create_app
from pylon_workflows.api.explanation_view import ExplanationAnswer
from pylon_workflows.api.schemas import InstanceAnswer, StartAnswer
from pylon_workflows.testing import wait_until
from runner_protocol.messages import Complete, Sleep, WaitEvent


async def test_an_explanation_is_what_the_document_says(client: httpx.AsyncClient, engine: StillEngine) -> None:
    await engine.start_or_find("onboarding", id="a")
    await engine.apply("a", WaitEvent(event="paid", match={"id": 7}, timeout="1h"))
    await engine.send_event("a", "paid", {"id": 8})
    answer = await client.get("/a/explain")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    ExplanationAnswer.model_validate_json(answer.content)
    assert answer.json() == {
        "id": "a",
        "name": "onboarding",
        "status": "waiting_for_event",
        "revision": 4,
        "reason": "event",
        "summary": "waits for the event 'paid' with id = 7 "
        "since 2026-11-21T09:00:02.000Z until 2026-11-21T10:00:02.000Z",
        "since": "2026-11-21T09:00:02.000Z",
        "next_at": "2026-11-21T10:00:02.000Z",
        "waiting_for": "paid",
        "ways_on": [
            "that event: pylon-workflows send-event a paid --data '{...}', with id = 7",
            "or the time: at 2026-11-21T10:00:02.000Z it goes on without it",
        ],
        "runner_said": {"at": "2026-11-21T09:00:02.000Z", "text": "wait for the event 'paid'"},
        "near_misses": [
            {
                "event": "paid",
                "received_at": "2026-11-21T09:00:03.000Z",
                "where": "inbox",
                "why": "does not match: id is 8 and should be 7",
            }
        ],
        "other_keys": None,
        "unread_events": 1,
    }


async def test_events_under_other_keys_are_told_with_those_keys(client: httpx.AsyncClient, engine: StillEngine) -> None:
    await engine.start_or_find("onboarding", id="a")
    await engine.apply("a", WaitEvent(event="paid", correlation="order:111"))
    for key in ("order:111 ", "Order:111"):
        answer = await client.post("/events", json={"event": "paid", "correlation": key})
        assert answer.status_code == 200, answer.text
    answer = await client.get("/a/explain")
    ExplanationAnswer.model_validate_json(answer.content)
    told = answer.json()["other_keys"]
    assert (told["count"], [each["correlation"] for each in told["newest"]]) == (2, ["Order:111", "order:111 "])


async def test_nobody_is_unknown(client: httpx.AsyncClient) -> None:
    assert (await client.get("/nobody/explain")).status_code == 404
    assert (await client.post("/nobody/explain")).status_code == 405


async def is_there(client: httpx.AsyncClient) -> bool:
    return (await client.get("/a")).status_code == 200


class TestStartsThatWait:
    async def test_the_instance_comes_with_the_answer_when_it_has_finished_in_time(
        self, client: httpx.AsyncClient, engine: StillEngine
    ) -> None:
        body = {"name": "onboarding", "id": "a", "wait_s": 60}
        starting = asyncio.create_task(client.post("/start", json=body))
        await wait_until(lambda: is_there(client))
        await engine.apply("a", Complete(output={"n": 1}))
        answer = await starting
        assert (answer.status_code, answer.json()["id"]) == (201, "a")
        assert answer.json()["instance"] == (await client.get("/a")).json()
        StartAnswer.model_validate_json(answer.content)
        InstanceAnswer.model_validate(answer.json()["instance"], strict=False)
        again = await client.post("/start", json=body)
        assert (again.status_code, again.json()) == (200, answer.json())

    async def test_one_that_takes_longer_is_started_all_the_same(
        self, client: httpx.AsyncClient, engine: StillEngine
    ) -> None:
        for wait_s in (0, 0.01):
            answer = await client.post("/start", json={"name": "onboarding", "id": "a", "wait_s": wait_s})
            assert answer.json() == {"id": "a", "instance": None}
        await engine.apply("a", Sleep(duration="1h"))

    async def test_an_engine_that_stops_meanwhile_has_started_it(self) -> None:
        engine = StillEngine()
        engine.register(WorkflowDefinition("onboarding"))
        transport = httpx.ASGITransport(create_app(engine))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            async with engine:
                body = {"name": "onboarding", "id": "a", "wait_s": 60}
                starting = asyncio.create_task(client.post("/start", json=body))
                await wait_until(lambda: is_there(client))
            answer = await starting
            assert (answer.status_code, answer.json()) == (201, {"id": "a", "instance": None})

    async def test_without_it_the_answer_is_as_ever(self, client: httpx.AsyncClient) -> None:
        assert (await client.post("/start", json={"name": "onboarding", "id": "a"})).json() == {"id": "a"}

    async def test_who_may_only_start_is_shown_nothing_of_the_instance(self, engine: StillEngine) -> None:
        token = await engine.create_token(["start"])
        transport = httpx.ASGITransport(create_app(engine))
        headers = {"authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as client:
            refused = await client.post("/start", json={"name": "onboarding", "id": "a", "wait_s": 0})
            assert (refused.status_code, refused.json()["code"]) == (403, "missing-scope")
            assert (await client.post("/start", json={"name": "onboarding", "id": "a"})).status_code == 201

    @pytest.mark.parametrize("wait_s", [-1, 60.5, "5", True, 1e999])
    async def test_another_time_is_refused_and_nothing_is_started(
        self, client: httpx.AsyncClient, wait_s: object
    ) -> None:
        text = '{"name": "onboarding", "id": "a", "wait_s": ' + str(wait_s).lower().replace("inf", "1e999") + "}"
        if wait_s == "5":
            text = text.replace(" 5}", ' "5"}')
        answer = await client.post("/start", content=text)
        assert answer.status_code == 400
        assert (await client.get("/a")).status_code == 404
