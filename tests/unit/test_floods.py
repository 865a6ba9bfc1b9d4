"""One list or object of a million wrong entries, from a runner or a caller: it is refused for the first of them.

pydantic makes an error for each entry: of 4 MiB that took ten seconds, in which no thread ran, and 3 GB.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from pylon_workflows import errors
from pylon_workflows.api import bodies, bulk_shapes, publish_shapes, schedule_shapes, schemas
from pylon_workflows.api.schemas import Shape
from pylon_workflows.hooks.sources_file import _File
from pylon_workflows.possible_transitions import _Past
from runner_protocol.bounds import MAX_LOG_LINES, MAX_MATCHED, MAX_VARS, MAX_WORKFLOWS
from runner_protocol.messages import (
    Action,
    Description,
    MalformedMessageError,
    TurnRequest,
    parse_action,
    parse_description,
)

Read = Callable[[bytes], Any]
MILLION = b"[" + b",".join([b"1"] * 1_000_000) + b"]"
LINE = {"at": "2026-01-01T00:00:00.000Z", "message": "m"}


def texts(length: int) -> bytes:
    """Two megabytes of fields that hold a number, and whose names are so long."""
    return b",".join(b'"%0*d":1' % (length, number) for number in range(2_000_000 // (length + 5)))


def read_as(model: type[BaseModel]) -> Read:
    return lambda body: bodies._read(body, model, 1)


bulk, start = read_as(bulk_shapes.BulkRequest), read_as(schemas.StartRequest)
schedule, publish = read_as(schedule_shapes.ScheduleRequest), read_as(publish_shapes.PublishRequest)
FLOODS: Mapping[str, tuple[Read, bytes, str]] = {
    "unset": (parse_action, b'{"action":"complete","unset":%b}' % MILLION, "unset.0: Input should be a valid string;"),
    "logs": (parse_action, b'{"action":"complete","logs":%b}' % MILLION, "logs.0: Input should be a valid dictionary"),
    "vars": (parse_action, b'{"action":"complete","vars":{%b}}' % texts(129), "vars.0{129}.*at most 128 characters"),
    "match": (
        parse_action, b'{"action":"wait_event","event":"e","match":{%b}}' % texts(513), "match.0{194};|at most 512",
    ),
    "members": (
        parse_action, b'{"action":"parallel","name":"p","members":%b}' % MILLION, "members.0: Input should be a valid",
    ),
    "workflows": (parse_description, b'{"workflows":%b}' % MILLION, "workflows.0: Input should be a valid dictionary"),
    "status": (bulk, b'{"status":%b}' % MILLION, "status: must be at most 100, not 1000000"),
    "fields of a bulk change": (bulk, b"{%b}" % texts(9), "000000000: Extra inputs are not permitted"),
    "tags of a bulk change": (bulk, b'{"tags":{%b}}' % texts(9), "tags: must be at most 32, not 142857"),
    "tags of a start": (start, b'{"name":"w","tags":{%b}}' % texts(9), "tags: must be at most 32, not 142857"),
    "tags of a schedule": (schedule, b'{"name":"w","cron":"","tags":{%b}}' % texts(9), "tags: must be at most 32"),
    "tags of a published start": (
        publish, b'{"event":"e","correlation":"k","start":{"name":"w","tags":{%b}}}' % texts(9), "tags: must be at",
    ),
}  # fmt: skip


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_of_wrong_entries_makes_one_error(flood: str) -> None:
    read, body, sentence = FLOODS[flood]
    with pytest.raises((MalformedMessageError, errors.InvalidInputError), match=f"^{sentence}") as refused:
        read(body)
    assert len(str(refused.value)) < 600
    made = refused.value.__context__
    if isinstance(made, ValidationError):
        assert made.error_count() == 1
    else:
        assert made is None, "it was refused before an entry was looked at"


def test_a_list_of_a_few_wrong_statuses_is_told_by_its_first() -> None:
    with pytest.raises(errors.InvalidInputError, match=r"^status\.str: should be a valid string$") as refused:
        bulk(b'{"status":[%b]}' % b",".join([b"1"] * 100))
    made = refused.value.__context__
    assert isinstance(made, ValidationError)
    assert made.error_count() == 2, "that it is no text, and what the first entry is"


LIMITS: Mapping[str, tuple[Read, Callable[[int], Any], int, str]] = {
    "unset": (parse_action, lambda size: {"action": "complete", "unset": ["v"] * size}, MAX_VARS, "unset: List should"),
    "vars": (
        parse_action, lambda size: {"action": "complete", "vars": dict.fromkeys(map(str, range(size)))}, MAX_VARS,
        "vars: Dictionary should have at most 50000",
    ),
    "match": (
        parse_action,
        lambda size: {"action": "wait_event", "event": "e", "match": dict.fromkeys(map(str, range(size)), 1)},
        MAX_MATCHED, "match: Dictionary should have at most 1000",
    ),
    "workflows": (
        parse_description, lambda size: {"workflows": [{"name": "w"}] * size}, MAX_WORKFLOWS,
        "workflows: List should have at most 10000 items",
    ),
    "status": (bulk, lambda size: {"status": ["failed"] * size}, bulk_shapes.MAX_STATUSES, "status: must be at most"),
}  # fmt: skip


@pytest.mark.parametrize("limit", LIMITS)
def test_the_limit_is_taken_and_one_beyond_is_refused_by_its_field(limit: str) -> None:
    read, given, most, sentence = LIMITS[limit]
    read(json.dumps(given(most)).encode())
    with pytest.raises((MalformedMessageError, errors.ListLimitError), match=f"^{sentence}"):
        read(json.dumps(given(most + 1)).encode())


def test_log_lines_beyond_those_that_are_kept_are_not_read() -> None:
    lines = [LINE] * MAX_LOG_LINES
    action = parse_action(json.dumps({"action": "complete", "logs": [*lines, 1, 2]}).encode())
    assert len(action.logs) == MAX_LOG_LINES
    with pytest.raises(MalformedMessageError, match=r"^logs\.99: Input should be a valid dictionary"):
        parse_action(json.dumps({"action": "complete", "logs": [*lines[1:], 1]}).encode())


def slow_to_fail(schema: Any, path: str = "", *, is_judged: bool = False) -> Iterator[str]:
    """The lists and objects in a schema of pydantic's that make an error for each wrong entry."""
    if isinstance(schema, list | tuple):
        for number, each in enumerate(schema):
            yield from slow_to_fail(each, f"{path}.{number}")
    if not isinstance(schema, dict):
        return
    kind = schema.get("type")
    entries = schema.get("items_schema", {"type": "any"}), schema.get("values_schema", {"type": "any"})
    is_any = all(each.get("type") == "any" for each in entries if isinstance(each, dict))
    keys = schema.get("keys_schema", {}).keys() - {"type"}  # what else a key must be, beside a text
    if kind in ("list", "set", "frozenset", "generator") and not is_any and not schema.get("fail_fast"):
        yield f"{kind}: {path}"
    if kind == "dict" and (keys or not is_any) and not is_judged:
        yield f"dict: {path}"
    for name, each in schema.items():
        if name not in ("metadata", "serialization"):
            yield from slow_to_fail(each, f"{path}.{name}", is_judged=kind == "function-before")


REQUESTS = [shape for shape in Shape.__subclasses__() if shape.__name__.endswith("Request")]


@pytest.mark.parametrize("given", [Action, Description, TurnRequest, _Past, *REQUESTS], ids=str)
def test_whatever_is_given_from_outside_fails_by_its_first_wrong_entry(given: Any) -> None:
    assert list(slow_to_fail(TypeAdapter(given).core_schema)) == []


def test_a_file_of_sources_fails_by_the_first_wrong_entry_of_a_list() -> None:
    """Its tables are as many as the owner of the process has written."""
    slow = list(slow_to_fail(TypeAdapter(_File).core_schema))
    assert slow
    assert {path.partition(":")[0] for path in slow} == {"dict"}
