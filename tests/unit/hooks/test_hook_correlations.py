"""Deliveries for whoever waits with a key, or that start what handles them."""

import asyncio

import pytest
from hook_signing import AT, SECRET, Headers, MakeClient, body_of, stripe

from pylon_workflows import WorkflowDefinition, WorkflowEngine
from pylon_workflows.core.instance import Status
from pylon_workflows.core.transitions import EventReceived
from pylon_workflows.hooks import HookSource, HookStart, Stripe
from runner_protocol.messages import WaitEvent

SOURCE = HookSource("psp", Stripe(SECRET), correlation="order:{data.order}", data="data")
STARTING = HookSource(
    "psp",
    Stripe(SECRET),
    correlation="order:{data.order}",
    events={"order.created": "created", "paid": "paid"},
    start=HookStart(workflow="order", id="order-{data.order}", events=["created"], tags={"order": "no {data.order}"}),
)


def delivery(order: int, *, id: str = "evt_1", type: str = "paid") -> tuple[bytes, Headers]:
    body = body_of({"id": id, "type": type, "data": {"order": order}})
    return body, stripe(SECRET, body, AT)


async def post(client_of: MakeClient, source: HookSource, signed: tuple[bytes, Headers]) -> dict[str, object]:
    body, headers = signed
    answer = await client_of(source).post("/psp", content=body, headers=headers)  # type: ignore[arg-type]
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def waits(engine: WorkflowEngine, instance_id: str, key: str = "order:7") -> None:
    await engine.apply(instance_id, WaitEvent(event="paid", correlation=key))


async def has_gone_on(engine: WorkflowEngine, instance_id: str) -> None:
    """Return when it has: an event is stored first and matched second."""
    async with asyncio.timeout(5):
        while (await engine.get(instance_id)).status is not Status.RUNNING:  # noqa: ASYNC110 -- it tells nobody
            await asyncio.sleep(0)


async def test_it_resumes_whoever_waits_with_its_key(
    engine: WorkflowEngine, instance_id: str, client_of: MakeClient
) -> None:
    await waits(engine, instance_id)
    assert await post(client_of, SOURCE, delivery(7)) == {"applied": True, "duplicate": False}
    await has_gone_on(engine, instance_id)
    [record] = (await engine.get(instance_id)).records
    assert (record.name, record.output) == ("event:paid", {"order": 7})


async def test_one_that_comes_before_the_wait_is_kept_for_it(
    engine: WorkflowEngine, instance_id: str, client_of: MakeClient
) -> None:
    assert await post(client_of, SOURCE, delivery(7)) == {"applied": True, "duplicate": False}
    assert await post(client_of, SOURCE, delivery(7)) == {"applied": True, "duplicate": True}
    await waits(engine, instance_id)
    await has_gone_on(engine, instance_id)


async def test_one_that_comes_many_times_at_once_resumes_one_instance_once(
    engine: WorkflowEngine, client_of: MakeClient
) -> None:
    for number in range(2):
        await waits(engine, await engine.start("order", id=f"order-{number}"))
    answers = await asyncio.gather(*(post(client_of, SOURCE, delivery(7)) for _ in range(50)))
    assert sorted(answer["duplicate"] for answer in answers) == [False] + [True] * 49
    await has_gone_on(engine, "order-0")
    assert (await engine.get("order-1")).status is Status.WAITING_FOR_EVENT


async def test_it_starts_a_workflow_when_nobody_waits_and_once_only(
    engine: WorkflowEngine, client_of: MakeClient
) -> None:
    created = delivery(7, type="order.created")
    assert await post(client_of, STARTING, created) == {"applied": True, "duplicate": False}
    assert await post(client_of, STARTING, created) == {"applied": True, "duplicate": True}
    async with asyncio.timeout(5):
        while not await engine.list():  # noqa: ASYNC110 -- it tells nobody
            await asyncio.sleep(0)
    [started] = await engine.list()
    assert (started.id, started.tags) == ("order-7", {"order": "no 7"})
    instance = await engine.get("order-7")
    assert instance.input == {"id": "evt_1", "type": "order.created", "data": {"order": 7}}


async def test_an_event_that_starts_nothing_is_kept(engine: WorkflowEngine, client_of: MakeClient) -> None:
    assert (await post(client_of, STARTING, delivery(7)))["applied"]
    assert not await engine.list()
    await waits(engine, await engine.start("order", id="late"))
    await has_gone_on(engine, "late")


async def test_a_workflow_that_is_not_known_yet_makes_the_sender_come_again(
    engine: WorkflowEngine, client_of: MakeClient
) -> None:
    source = HookSource("psp", Stripe(SECRET), correlation="{data.order}", start=HookStart(workflow="refund"))
    body, headers = delivery(7)
    client = client_of(source)
    answer = await client.post("/psp", content=body, headers=headers)  # type: ignore[arg-type]
    assert (answer.status_code, answer.json()["code"]) == (503, "unknown-workflow")
    assert answer.json()["detail"] == "the workflow that this event is to start is not known here yet"
    assert answer.headers["retry-after"] == "60"
    engine.register(WorkflowDefinition("refund"))
    assert await post(client_of, source, (body, headers)) == {"applied": True, "duplicate": False}


@pytest.mark.parametrize(
    ("source", "order", "reason"),
    [
        (SOURCE, "x" * 600, "correlation-too-long"),
        (STARTING, "no id", "invalid-id"),
        (STARTING, None, "missing-field"),
    ],
)
async def test_a_key_or_an_id_that_cannot_be_one_is_acknowledged(
    source: HookSource, order: object, reason: str, client_of: MakeClient
) -> None:
    answer = await post(client_of, source, delivery(order, type="order.created"))  # type: ignore[arg-type]
    assert (answer["applied"], answer["reason"]) == (False, reason)


async def test_two_sources_may_give_the_same_id(
    engine: WorkflowEngine, instance_id: str, client_of: MakeClient
) -> None:
    other = HookSource("psp-eu", Stripe("other"), correlation="order:{data.order}")
    body = body_of({"id": "evt_1", "type": "paid", "data": {"order": 7}})
    client = client_of(SOURCE, other)
    for path, secret in (("/psp", SECRET), ("/psp-eu", "other")):
        answer = await client.post(path, content=body, headers=stripe(secret, body, AT))  # type: ignore[arg-type]
        assert answer.json() == {"applied": True, "duplicate": False}
    await waits(engine, instance_id)
    await has_gone_on(engine, instance_id)
    await waits(engine, instance_id)
    await has_gone_on(engine, instance_id)
    history = await engine.history(instance_id)
    ids = [each.event_id for each in history if isinstance(each, EventReceived)]
    assert ids == ["published:psp:evt_1", "published:psp-eu:evt_1"]
