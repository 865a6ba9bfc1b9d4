"""PROTOCOL.md, the public specification: what it shows are messages, it names every field, its limits are the code's.

Its JSON blocks say after `message=` which message each of their values is; in a `request part` fields are left out.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from document_blocks import Block, blocks_of, prose_of, text_of

from pylon_workflows.core.deciding.asking import MAX_LOG_LENGTH, MAX_VARS_BYTES
from pylon_workflows.core.records import MAX_DEPENDENCIES
from runner_protocol import actions, bounds, fields
from runner_protocol.conformance.cases import load_cases
from runner_protocol.conformance.question import build_request
from runner_protocol.durations import MAX_DURATION
from runner_protocol.messages import (
    MAX_ANSWER_BYTES,
    Action,
    DescribedWorkflow,
    Description,
    MemberRequest,
    Message,
    StepRecord,
    TurnRequest,
    parse_action,
    parse_description,
    parse_request,
)
from runner_protocol.strict_json import MAX_DEPTH

SPECIFICATION = "runner_protocol/PROTOCOL.md"
BLOCKS = [block for block in blocks_of(SPECIFICATION) if block.language == "json"]
ACTIONS: tuple[type[Message], ...] = get_args(Action)


def values_of(block: Block) -> Iterator[Any]:
    """The JSON values that stand in a block one after the other."""
    decoder, rest = json.JSONDecoder(), block.text.strip()
    while rest:
        value, end = decoder.raw_decode(rest)
        yield value
        rest = rest[end:].strip()


def whole(part: dict[str, Any]) -> dict[str, Any]:
    """The request that a part of one belongs to."""
    case = load_cases()[0]
    records = [
        {"step_id": "step_0", "started_at": "2026-01-01T00:00:00Z", "completed_at": "2026-01-01T00:00:00Z",
         "duration_ms": 0, "kind": "step", **record}
        for record in part["completed_steps"]
    ]  # fmt: skip
    return {**build_request(case, case.turns[0], "an-id"), **part, "completed_steps": records}


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_json_block_is_what_it_says(block: Block) -> None:
    values = list(values_of(block))
    assert values
    for value in values:
        kind: type[Message]
        shown = whole(value) if "part" in block.words else value
        text = json.dumps(shown).encode()
        match block.words["message"]:
            case "request":
                assert shown.keys() == TurnRequest.model_fields.keys() or "part" in block.words
                kind = type(parse_request(text))
            case "action":
                kind = type(parse_action(text))
            case "member":
                kind = type(MemberRequest.model_validate(shown))
            case "description":
                kind = type(parse_description(text))
            case other:
                pytest.fail(f"{block}: {other!r} is no message")
        assert shown.keys() <= kind.model_fields.keys()


def test_every_block_is_json_or_code_in_no_language() -> None:
    assert text_of(SPECIFICATION).count("\n```json") == len(BLOCKS)
    assert {block.language for block in blocks_of(SPECIFICATION)} == {"json"}


def test_messages_in_the_text_are_messages() -> None:
    shown = re.findall(r'`(\{"action": "[^`]*\})`', prose_of(SPECIFICATION))
    assert len(shown) > 3
    for text in shown:
        parse_action(text.replace("\n", " ").encode())


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.__name__)
def test_every_action_is_shown_with_all_its_fields(action: type[Message]) -> None:
    tag = action.model_fields["action"].default
    text = text_of(SPECIFICATION)
    assert f'"action": "{tag}"' in text
    for name in action.model_fields:
        assert f"`{name}`" in text or f'"{name}": ' in text, name


@pytest.mark.parametrize("message", [Description, DescribedWorkflow, MemberRequest, actions.Usage, actions.LogLine])
def test_every_field_of_other_messages_is_shown(message: type[Message]) -> None:
    for name in message.model_fields:
        assert f'"{name}": ' in text_of(SPECIFICATION), name


def first_cells(title: str) -> set[str]:
    """The words in backticks in the first column of the tables that follow the rule of this number."""
    rule = text_of(SPECIFICATION).split(f"**{title}** ", 1)[1].split("\n**", 1)[0]
    rows = [line.split("|")[1] for line in rule.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def test_the_tables_of_fields_are_those_of_the_messages() -> None:
    assert first_cells("Q1") == set(TurnRequest.model_fields)
    assert first_cells("Q2") == set(StepRecord.model_fields)


def test_fields_that_may_be_missing_are_marked() -> None:
    optional = {name for name, field in StepRecord.model_fields.items() if not field.is_required()}
    rows = [line.split("|")[1] for line in text_of(SPECIFICATION).splitlines() if line.startswith("| `")]
    starred = {name for row in rows if "*" in row for name in re.findall(r"`(\w+)`", row)}
    assert starred == optional


def test_the_limits_are_those_of_the_code() -> None:
    rows = [line.strip("| ").split(" | ") for line in text_of(SPECIFICATION).split("## 9. Limits")[1].splitlines()]
    limits = {row[0].strip(): row[1].strip() for row in rows if len(row) == 2}
    matched = [fields.MAX_NAME_LENGTH, fields.MAX_KEY_LENGTH, bounds.MAX_PATH_LENGTH, bounds.MAX_PATH_LENGTH]
    assert limits["a name, a key, a path of `match`, a `correlation`"] == f"{', '.join(map(str, matched))} characters"
    assert limits["an answer, or a line of a stream"] == f"{MAX_ANSWER_BYTES >> 20} MiB"
    values = f"nested {MAX_DEPTH} deep; {MAX_DEPTH - 1}"
    assert limits["a value; the output of a member, which its group's holds"] == values
    in_groups = f"{actions.MAX_MEMBERS:,}; {actions.MAX_MEMBERS_IN_FLIGHT:,}"
    assert limits["members of a group; at a time"] == in_groups
    named = f"{bounds.MAX_VARS:,}, {bounds.MAX_VARS:,}; {bounds.MAX_MATCHED:,}"
    assert limits["names in `vars`, in `unset`; paths in `match`"] == named
    assert limits["workflows in a description"] == f"{bounds.MAX_WORKFLOWS:,}"
    assert limits["the variables of an instance, together"].startswith(f"{MAX_VARS_BYTES >> 10} KiB")
    logs = f"the first {bounds.MAX_LOG_LINES}; the first {MAX_LOG_LENGTH:,} characters"
    assert limits["log lines of an action; of one line"] == logs
    assert limits["keys in `depends_on`"] == str(MAX_DEPENDENCIES)
    assert limits["a duration"] == f"{MAX_DURATION.days / 365.25:.0f} years"
