"""Every limit of docs/operations.md: what is at the limit is taken, what is one beyond is refused with its own code.

Those of the API's body are in `tests/unit/api/test_api_limits.py`, those of time in `test_definitions.py` too.
"""

import json
import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from pylon_workflows import EngineSettings, Limits, LocalRunner, WorkflowDefinition, create_app, errors
from pylon_workflows.api import refusals
from pylon_workflows.core.deciding.asking import MAX_VARS_BYTES
from pylon_workflows.core.instance import Status
from pylon_workflows.ids import RESERVED_IDS
from pylon_workflows.runner.answers import read_answer
from pylon_workflows.testing import ScriptedRunner, engine_in_memory, wait_for_status
from runner_protocol.durations import MAX_DURATION
from runner_protocol.messages import (
    MAX_ANSWER_BYTES,
    Approval,
    Complete,
    MalformedMessageError,
    StepComplete,
    parse_action,
)

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
SMALL = EngineSettings(
    shutdown_grace_s=0,
    max_input_bytes=50,
    max_event_bytes=40,
    max_unread_events=2,
    max_kept_events=2,
    max_records=3,
    max_history_bytes=100,
)
YEARS = int(MAX_DURATION.total_seconds())


def deep(depth: int) -> Any:
    return json.loads("[" * depth + "]" * depth)


Call = Callable[[Any], Awaitable[Any]]

IN_PYTHON: dict[str, tuple[Call, Call, type[errors.WorkflowError]]] = {
    "input": (
        lambda engine: engine.start("w", "x" * 48),
        lambda engine: engine.start("w", "x" * 49),
        errors.InputTooLargeError,
    ),
    "data of an event": (
        lambda engine: engine.send_event("there", "e", "x" * 38),
        lambda engine: engine.send_event("there", "e", "x" * 39),
        errors.EventTooLargeError,
    ),
    "depth of an input": (
        lambda engine: roomy().start_alone(deep(64)),
        lambda engine: roomy().start_alone(deep(65)),
        errors.TooDeepError,
    ),
    "data of a decision": (
        lambda engine: decided_at_a_gate(engine, data="x" * 38),
        lambda engine: engine.approve("there", "approval:ship", data="x" * 39),
        errors.ApprovalTooLargeError,
    ),
    "comment of a decision": (
        lambda engine: decided_at_a_gate(engine, comment="x" * 10_000),
        lambda engine: engine.approve("there", "approval:ship", comment="x" * 10_001),
        errors.CommentTooLongError,
    ),
    "who decides": (
        lambda engine: decided_at_a_gate(engine, by="x" * 128),
        lambda engine: engine.approve("there", "approval:ship", by="x" * 129),
        errors.NameTooLongError,
    ),
    "name of an event": (
        lambda engine: engine.send_event("there", "e" * 128),
        lambda engine: engine.send_event("there", "e" * 129),
        errors.NameTooLongError,
    ),
    "id of an event": (
        lambda engine: engine.send_event("there", "e", event_id="i" * 128),
        lambda engine: engine.send_event("there", "e", event_id="i" * 129),
        errors.NameTooLongError,
    ),
    "idempotency key": (
        lambda engine: engine.start("w", idempotency_key="k" * 128),
        lambda engine: engine.start("w", idempotency_key="k" * 129),
        errors.NameTooLongError,
    ),
    "tags": (
        lambda engine: engine.start("w", tags={str(number): "" for number in range(32)}),
        lambda engine: engine.start("w", tags={str(number): "" for number in range(33)}),
        errors.TagLimitError,
    ),
    "name of a tag": (
        lambda engine: engine.start("w", tags={"n" * 64: ""}),
        lambda engine: engine.start("w", tags={"n" * 65: ""}),
        errors.TagLimitError,
    ),
    "value of a tag": (
        lambda engine: engine.start("w", tags={"n": "v" * 256}),
        lambda engine: engine.start("w", tags={"n": "v" * 257}),
        errors.TagLimitError,
    ),
    "delay": (
        lambda engine: engine.start("w", delay=f"{YEARS}s"),
        lambda engine: engine.start("w", delay=f"{YEARS + 1}s"),
        errors.DurationTooLongError,
    ),
    "id": (
        lambda engine: engine.start("w", id="i" * 128),
        lambda engine: engine.start("w", id="i" * 129),
        errors.InvalidIdError,
    ),
    "page of a history": (
        lambda engine: engine.history_page("there", limit=1000),
        lambda engine: engine.history_page("there", limit=1001),
        errors.HistoryLimitError,
    ),
    "page of a list": (
        lambda engine: engine.list(limit=200),
        lambda engine: engine.list(limit=201),
        errors.ListLimitError,
    ),
}


async def decided_at_a_gate(engine: Any, **decision: Any) -> None:
    await engine.apply("there", Approval(name="ship"))
    await engine.approve("there", "approval:ship", **decision)


class roomy:  # noqa: N801 -- reads as a function in the table
    """An engine with the limits that it has when nobody sets any."""

    async def start_alone(self, value: Any) -> str:
        engine = engine_in_memory(None)
        engine.register(WorkflowDefinition("w"))
        async with engine:
            return await engine.start("w", value)


@pytest.fixture
async def engine():
    engine = engine_in_memory(None, settings=SMALL)
    engine.register(WorkflowDefinition("w"))
    async with engine:
        await engine.start("w", id="there")
        yield engine


@pytest.fixture
async def client(engine):
    transport = httpx.ASGITransport(create_app(engine))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


@pytest.mark.parametrize("limit", IN_PYTHON)
async def test_in_python_the_limit_is_taken_and_one_beyond_is_refused_with_nothing_changed(engine, limit):
    at_the_limit, beyond, refusal = IN_PYTHON[limit]
    await at_the_limit(engine)
    before = [await engine.history(summary.id) for summary in await engine.list()]
    with pytest.raises(refusal) as refused:
        await beyond(engine)
    assert type(refused.value) is refusal
    assert [await engine.history(summary.id) for summary in await engine.list()] == before


START, EVENT, DEFINITIONS, EVENTS = "/start", "/there/event", "/definitions", "/events"

OVER_HTTP: dict[str, tuple[str, dict[str, Any], dict[str, Any], int, str]] = {
    "input": (START, {"name": "w", "input": "x" * 48}, {"name": "w", "input": "x" * 49}, 413, "input-too-large"),
    "data": (EVENT, {"event": "e", "data": "x" * 38}, {"event": "e", "data": "x" * 39}, 413, "event-too-large"),
    "depth of an event": (EVENT, {"event": "e", "data": deep(20)}, {"event": "e", "data": deep(65)}, 400, "too-deep"),
    "name of a workflow": (DEFINITIONS, {"name": "n" * 128}, {"name": "n" * 129}, 400, "name-too-long"),
    "version": (
        DEFINITIONS, {"name": "n", "version": "v" * 128}, {"name": "n", "version": "v" * 129}, 400, "name-too-long",
    ),
    "name of an event": (EVENT, {"event": "e" * 128}, {"event": "e" * 129}, 400, "name-too-long"),
    "event id": (
        EVENT, {"event": "e", "event_id": "i" * 128}, {"event": "e", "event_id": "i" * 129}, 400, "name-too-long",
    ),
    "correlation key": (
        EVENTS, {"event": "e", "correlation": "k" * 512}, {"event": "e", "correlation": "k" * 513}, 400,
        "correlation-too-long",
    ),
    "data of a published event": (
        EVENTS, {"event": "e", "correlation": "k", "data": "x" * 38},
        {"event": "e", "correlation": "k", "data": "x" * 39}, 413, "event-too-large",
    ),
    "idempotency key": (
        START, {"name": "w", "idempotency_key": "k" * 128}, {"name": "w", "idempotency_key": "k" * 129}, 400,
        "name-too-long",
    ),
    "id": (START, {"name": "w", "id": "i" * 128}, {"name": "w", "id": "i" * 129}, 400, "invalid-id"),
    "description": (
        DEFINITIONS, {"name": "n", "description": "d" * 10_000}, {"name": "n", "description": "d" * 10_001}, 400,
        "description-too-long",
    ),
    "schema": (
        DEFINITIONS, {"name": "n", "input_schema": {"d": "s" * 65_528}},
        {"name": "n", "input_schema": {"d": "s" * 65_529}}, 413, "schema-too-large",
    ),
    "retries": (
        DEFINITIONS, {"name": "n", "max_retries": 1_000_000}, {"name": "n", "max_retries": 1_000_001}, 400,
        "too-many-retries",
    ),
    "timeout": (
        DEFINITIONS, {"name": "n", "step_timeout_s": YEARS}, {"name": "n", "step_timeout_s": YEARS + 1}, 400,
        "duration-too-long",
    ),
}  # fmt: skip


@pytest.mark.parametrize("limit", OVER_HTTP)
async def test_over_http_the_limit_is_taken_and_one_beyond_is_refused_with_its_code(engine, client, limit):
    path, at_the_limit, beyond, status, code = OVER_HTTP[limit]
    assert (await client.post(path, json=at_the_limit)).is_success
    before = [await engine.history(summary.id) for summary in await engine.list()]
    refused = await client.post(path, json=beyond)
    assert (refused.status_code, refused.json()["code"]) == (status, code)
    assert [await engine.history(summary.id) for summary in await engine.list()] == before


async def test_a_page_over_http_has_200_instances_at_most(client):
    assert (await client.get("/?limit=200")).status_code == 200
    refused = await client.get("/?limit=201")
    assert (refused.status_code, refused.json()["code"]) == (400, "list-limit")


@pytest.mark.parametrize("size", [Limits().max_body_bytes, 300])
async def test_a_body_has_its_limit_by_length_and_in_pieces(engine, size):
    async def pieces(body):
        for first in range(0, len(body), 100_000):
            yield body[first : first + 100_000]

    app = create_app(engine, limits=Limits(max_body_bytes=size))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        body = b'{"name":"w"}'.ljust(size)
        for content, beyond in ((body, body + b" "), (pieces(body), pieces(body + b" "))):
            assert (await client.post("/start", content=content)).status_code == 201
            refused = await client.post("/start", content=beyond)
            assert (refused.status_code, refused.json()["code"]) == (413, "body-too-large")


@pytest.mark.parametrize("word", [*sorted(RESERVED_IDS), "START", ".", ".."])
async def test_no_word_of_a_route_is_an_id(engine, client, word):
    with pytest.raises(errors.ReservedIdError):
        await engine.start("w", id=word)
    refused = await client.post("/start", json={"name": "w", "id": word})
    assert (refused.status_code, refused.json()["code"]) == (400, "reserved-id")


async def test_so_many_events_are_kept_for_a_key_and_one_that_is_known_is_no_more(engine, client):
    for number in range(SMALL.max_kept_events):
        await engine.publish("e", correlation="k", event_id=str(number))
    with pytest.raises(errors.KeptEventsFullError, match="2 events 'e' of this correlation are kept already"):
        await engine.publish("e", correlation="k")
    refused = await client.post("/events", json={"event": "e", "correlation": "k"})
    assert (refused.status_code, refused.json()["code"]) == (429, "kept-events-full")
    assert (await engine.publish("e", correlation="k", event_id="1")).is_duplicate


async def test_an_inbox_is_full_with_its_last_event_and_has_room_again_for_one_that_is_known(engine, client):
    for number in range(SMALL.max_unread_events):
        await engine.send_event("there", "e", event_id=str(number))
    with pytest.raises(errors.InboxFullError, match="holds 2 unread events"):
        await engine.send_event("there", "e", event_id="new")
    refused = await client.post("/there/event", json={"event": "e"})
    assert (refused.status_code, refused.json()["code"]) == (429, "inbox-full")
    assert (await engine.send_event("there", "e", event_id="0")).is_duplicate


@pytest.mark.parametrize(
    ("terms", "refusal"),
    [
        ({"description": "d" * 10_001}, errors.DescriptionTooLongError),
        ({"max_retries": 1_000_001}, errors.TooManyRetriesError),
        ({"step_timeout": MAX_DURATION + timedelta(microseconds=1)}, errors.DurationTooLongError),
        ({"maximum_backoff": MAX_DURATION + timedelta(microseconds=1)}, errors.DurationTooLongError),
        ({"version": "v" * 129}, errors.NameTooLongError),
    ],
)
def test_a_definition_in_code_has_the_limits_of_one_over_http(terms, refusal):
    with pytest.raises(refusal):
        WorkflowDefinition("w", **terms)


async def drive(settings: EngineSettings, output: Any) -> Any:
    """An instance whose steps never end, when it no longer goes on."""
    engine = engine_in_memory(ScriptedRunner(lambda _: StepComplete(step_name="s", output=output)), settings=settings)
    engine.register(WorkflowDefinition("w"))
    async with engine:
        instance_id = await engine.start("w")
        return await wait_for_status(engine, instance_id, Status.BLOCKED)


async def test_a_run_has_as_many_records_as_it_may_and_is_blocked_at_the_next_turn():
    instance = await drive(SMALL, None)
    assert len(instance.steps) == SMALL.max_records
    assert instance.blocked_reason.startswith("history-too-large: this run has 3 records")


async def test_a_run_has_as_many_bytes_as_it_may_and_is_blocked_at_the_next_turn():
    instance = await drive(SMALL, "x" * 47)  # 47, two quotes and the name: 50
    assert (len(instance.steps), instance.history_bytes) == (2, SMALL.max_history_bytes)
    assert instance.blocked_reason.startswith("history-too-large: this run has 2 records and 100 bytes")


def answer_of(size: int) -> bytes:
    start = b'{"action":"complete","output":"'
    return start + b"x" * (size - len(start) - 2) + b'"}'


def test_an_answer_has_4_mib():
    assert read_answer(200, answer_of(MAX_ANSWER_BYTES)).action == "complete"
    with pytest.raises(errors.AnswerTooLargeError, match="the answer is larger than 4194304 bytes"):
        read_answer(200, answer_of(MAX_ANSWER_BYTES + 1))


async def test_an_answer_that_is_too_large_is_a_failed_attempt_with_the_limits_own_word():
    engine = engine_in_memory(LocalRunner(lambda _: too_large()), settings=SMALL)
    engine.register(WorkflowDefinition("w", max_retries=0))
    async with engine:
        instance = await engine.wait(await engine.start("w"), 10)
    assert instance.error.startswith("answer-too-large: the answer is larger than 4194304 bytes")


async def test_variables_that_are_too_large_together_are_a_failed_attempt_with_the_limits_own_word():
    for size, error in ((MAX_VARS_BYTES - 8, None), (MAX_VARS_BYTES - 7, "vars-too-large: vars: the instance's")):
        engine = engine_in_memory(ScriptedRunner(lambda request, size=size: set_once(request, size)))
        engine.register(WorkflowDefinition("w", max_retries=0))
        async with engine:
            instance = await engine.wait(await engine.start("w"), 10)
        assert instance.error is error or instance.error.startswith(error)


def set_once(request: Any, size: int) -> Any:
    return Complete() if request.completed_steps else StepComplete(vars={"v": "x" * size})


@pytest.mark.parametrize(
    ("message", "field", "at_the_limit", "beyond"),
    [
        ({"action": "map", "name": "m"}, "items", [0] * 100_000, [0] * 100_001),
        ({"action": "map", "name": "m", "items": []}, "max_in_flight", 1_000, 1_001),
    ],
    ids=["members", "in flight"],
)
def test_a_group_has_so_many_members_and_so_many_in_flight(message, field, at_the_limit, beyond):
    parse_action(json.dumps({**message, field: at_the_limit}).encode())
    with pytest.raises(MalformedMessageError, match=field):
        parse_action(json.dumps({**message, field: beyond}).encode())


async def too_large() -> tuple[int, bytes]:
    return 200, answer_of(MAX_ANSWER_BYTES + 1)


@pytest.mark.parametrize(
    ("action", "field", "at_the_limit", "beyond"),
    [
        ("sleep", "duration", f"{YEARS}s", f"{YEARS + 1}s"),
        ("wait_event", "timeout", f"{YEARS}s", f"{YEARS + 1}s"),
        ("wait_event", "event", "e" * 128, "e" * 129),
        ("step_complete", "step_name", "s" * 128, "s" * 129),
        ("step_complete", "key", "k" * 512, "k" * 513),
        ("step_complete", "output", deep(64), deep(65)),
        ("fail", "max_retries", 1_000_000, 1_000_001),
    ],
)
def test_a_runners_answer_has_its_limits_and_a_refusal_names_them(action, field, at_the_limit, beyond):
    message = {"action": action, **({"event": "e"} if action == "wait_event" else {})}
    parse_action(json.dumps({**message, field: at_the_limit}).encode())
    with pytest.raises(MalformedMessageError, match=field if field != "output" else "nested deeper than 64"):
        parse_action(json.dumps({**message, field: beyond}).encode())


def test_every_limit_of_the_page_has_a_code_that_stands_for_nothing_else():
    """P32: the table of limits names codes, and each is an error of its own."""
    table = PAGE.read_text().partition("## Limits")[2].partition("## The HTTP API")[0]
    codes = re.findall(r"\| \d{3} `([\w-]+)`", table)
    kinds = [kind for module in (errors, refusals) for kind in vars(module).values() if isinstance(kind, type)]
    known = [kind.code for kind in kinds if issubclass(kind, errors.WorkflowError)]
    assert len(codes) >= 13
    assert len(codes) == len(set(codes))
    for code in codes:
        assert len([kind for kind in set(kinds) if getattr(kind, "code", None) == code]) == 1, code
        assert code in known
    assert not {"invalid-input", "too-large"} & set(codes)


@pytest.mark.parametrize(
    "field", ["max_input_bytes", "max_event_bytes", "max_unread_events", "max_kept_events", "max_records"]
)
def test_a_limit_of_nothing_is_refused(field):
    with pytest.raises(errors.InvalidInputError, match=field):
        EngineSettings(**{field: 0})


@pytest.mark.parametrize("field", ["max_body_bytes", "body_timeout_s"])
def test_a_limit_of_nothing_is_refused_for_the_api(field):
    with pytest.raises(errors.InvalidInputError, match=field):
        Limits(**{field: 0})
