"""Plays cases against a runner: sends each turn, reads the answer as the engine would, compares it with the case."""

import json
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from runner_protocol.conformance.cases import Case, Turn
from runner_protocol.conformance.exchange import Call, Exchange, ExchangeError, Reply
from runner_protocol.conformance.expectation import differences
from runner_protocol.conformance.question import ID_HERE, build_call, new_workflow_id
from runner_protocol.messages import MalformedMessageError, parse_action, parse_description

_SHOWN = 500
_NDJSON = "application/x-ndjson"


@dataclass(frozen=True, slots=True)
class Problem:
    """What was wrong with the answer to one turn (counted from 1)."""

    turn: int
    say: str
    sent: str
    wrong: tuple[str, ...]
    came: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a case; it has passed when there is no problem."""

    case: Case
    problem: Problem | None

    @property
    def has_passed(self) -> bool:
        """Whether the runner keeps the rule."""
        return self.problem is None


def check(cases: Iterable[Case], exchange: Exchange, secret: str | None = None) -> Iterator[Outcome]:
    """Play the cases one after the other, signing calls with the runner's secret if it has one."""
    for case in cases:
        yield Outcome(case, play(case, exchange, secret))


def play(case: Case, exchange: Exchange, secret: str | None = None) -> Problem | None:
    """Play one case; the first turn with a wrong answer ends it, for the later ones build on it."""
    saved: dict[str, Any] = {}
    ids: dict[str, str] = {}
    for number, turn in enumerate(case.turns, 1):
        time.sleep(turn.after_s)
        if turn.at_once == 1:
            workflow_ids = [ids.setdefault(turn.instance, new_workflow_id(turn.instance))]
        else:
            workflow_ids = [new_workflow_id(f"{turn.instance}{index}") for index in range(turn.at_once)]
        calls = [build_call(case, turn, workflow_id, secret) for workflow_id in workflow_ids]
        replies = _send_at_once(calls, exchange) if len(calls) > 1 else [_send(calls[0], exchange)]
        for workflow_id, call, reply in zip(workflow_ids, calls, replies, strict=True):
            if wrong := _judge(turn, workflow_id, reply, saved):
                return Problem(number, turn.say, _shown_call(call), tuple(wrong), _shown_reply(reply))
    return None


def _send(call: Call, exchange: Exchange) -> Reply | ExchangeError:
    try:
        return exchange(call)
    except ExchangeError as error:
        return error


def _send_at_once(calls: list[Call], exchange: Exchange) -> list[Reply | ExchangeError]:
    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(lambda call: _send(call, exchange), calls))


def _judge(turn: Turn, workflow_id: str, reply: Reply | ExchangeError, saved: dict[str, Any]) -> list[str]:
    if isinstance(reply, ExchangeError):
        return [str(reply)]
    wrong: list[str] = []
    if turn.status is not None:
        wrong += map(str, differences(turn.status, reply.status, saved, "status"))
    for name, expected in turn.headers.items():
        wrong += map(str, differences(expected, reply.headers.get(name), saved, f"header {name}"))
    if turn.text is not None:
        wrong += map(str, differences(turn.text, reply.body.decode(errors="replace"), saved, "body"))
    here = partial(_with_id, workflow_id)
    if turn.answer is not None:
        wrong += _judge_answer(here(turn.answer), reply, saved, any_status=turn.status is not None)
    if turn.lines is not None:
        wrong += _judge_lines(here(list(turn.lines)), reply, saved, is_whole=turn.stop_after is None)
    if turn.description is not None:
        wrong += _judge_description(turn.description, reply, saved)
    return wrong


def _with_id(workflow_id: str, expected: Any) -> Any:
    return json.loads(json.dumps(expected).replace(ID_HERE, workflow_id))


def _judge_answer(expected: dict[str, Any], reply: Reply, saved: dict[str, Any], *, any_status: bool) -> list[str]:
    """Read an answer as the engine reads it (PROTOCOL.md, A and U): a 5xx counts only when its body is a `fail`."""
    try:
        action = parse_action(reply.body)
    except MalformedMessageError as error:
        return [f"status {reply.status}, and the body is no proper action: {error}"]
    is_fail = action.action == "fail"
    if not (any_status or reply.status == 200 or (is_fail and 500 <= reply.status <= 599)):
        return [f"status: expected 200, got {reply.status}"]
    return [str(difference) for difference in differences(expected, json.loads(reply.body), saved, "answer")]


def _judge_lines(expected: list[Any], reply: Reply, saved: dict[str, Any], *, is_whole: bool) -> list[str]:
    """Read a stream as the engine reads it (PROTOCOL.md, S): each line that is not blank is an action."""
    content_type = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
    if (reply.status, content_type) != (200, _NDJSON):
        return [f"expected a stream, got status {reply.status} and the type {content_type!r}"]
    if not reply.body.endswith(b"\n"):
        return ["the last line is not ended"]
    lines = [line for line in reply.body.split(b"\n") if line.strip()]
    wrong: list[str] = []
    for number, (line, wanted) in enumerate(zip(lines, expected, strict=False), 1):
        try:
            parse_action(line)
        except MalformedMessageError as error:
            return [*wrong, f"line {number} is no proper action: {error}"]
        wrong += map(str, differences(wanted, json.loads(line), saved, f"line {number}"))
    if len(lines) < len(expected) or (is_whole and len(lines) > len(expected)):
        wrong.append(f"expected {len(expected)} lines, got {len(lines)}")
    return wrong


def _judge_description(expected: dict[str, Any], reply: Reply, saved: dict[str, Any]) -> list[str]:
    try:
        parse_description(reply.body)
    except MalformedMessageError as error:
        return [f"status {reply.status}, and the body is no proper description: {error}"]
    return [str(difference) for difference in differences(expected, json.loads(reply.body), saved, "description")]


def _shown_call(call: Call) -> str:
    return f"{call.method} {_shorten(call.body)}".rstrip()


def _shown_reply(reply: Reply | ExchangeError) -> str:
    return "no reply" if isinstance(reply, ExchangeError) else f"{reply.status} {_shorten(reply.body)}".rstrip()


def _shorten(body: bytes) -> str:
    text = body.decode(errors="replace")
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(body)} bytes)"
