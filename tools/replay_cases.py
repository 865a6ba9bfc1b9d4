"""Writes the conformance cases of PROTOCOL.md R14: every kind of record, replayed after every kind of suspension.

`python tools/replay_cases.py --check | --write`. A pair is a workflow that does the one and then the other; each case
is a file of its own, so that a report names what is wrong.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

CASES = Path(__file__).parents[1] / "runner_protocol" / "conformance" / "cases"

_DECISION = {"approved": True, "by": "alice", "comment": None, "data": None, "timed_out": False}


class Deed(NamedTuple):
    """Something that a workflow does: in words, the call of `conformance.calls`, its action, record and output.

    `{n}` stands for 1 or 2, so that two of a kind have different names.
    """

    title: str
    call: dict[str, Any]
    action: dict[str, Any]
    record: dict[str, Any]
    output: Any


DEEDS = (
    Deed(
        "a step",
        {"step": "work{n}"},
        {"action": "step_complete", "key": "work{n}", "output": "work{n}"},
        {"step": "work{n}", "output": "worked"},
        "worked",
    ),
    Deed(
        "an operation",
        {"operation": "copy{n}", "kind": "s3-copy", "input": {"from": "a"}},
        {"action": "step_complete", "key": "copy{n}", "kind": "s3-copy"},
        {"step": "copy{n}", "output": "copied", "set": {"kind": "s3-copy", "input": {"from": "a"}}},
        "copied",
    ),
    Deed(
        "a skip",
        {"skip": "remind{n}", "reason": "no need"},
        {"action": "step_skip", "key": "remind{n}"},
        {"skipped": "remind{n}"},
        None,
    ),
    Deed(
        "a sleep",
        {"sleep": "1h"},
        {"action": "sleep", "duration": {"$duration": "1h"}},
        {"sleep": "1h"},
        None,
    ),
    Deed(
        "a wait",
        {"event": "paid{n}"},
        {"action": "wait_event", "key": "event:paid{n}"},
        {"event": "paid{n}", "output": {"ok": 1}},
        {"ok": 1},
    ),
    Deed(
        "an approval",
        {"approval": "gate{n}"},
        {"action": "approval", "key": "approval:gate{n}"},
        {"approval": "gate{n}", "output": {**_DECISION, "at": "2026-01-01T00:00:09.000Z"}},
        _DECISION,
    ),
    Deed(
        "a child",
        {"child": "shipping", "name": "ship{n}"},
        {"action": "start_child", "key": "child:ship{n}"},
        {"child": "ship{n}", "output": {"parcel": 1}},
        {"parcel": 1},
    ),
    Deed(
        "a parallel",
        {"parallel": "checks{n}", "members": ["lint", "test"]},
        {"action": "parallel", "key": "checks{n}"},
        {"parallel": "checks{n}", "output": {"lint": 1, "test": 2}},
        {"lint": 1, "test": 2},
    ),
    Deed(
        "a map",
        {"map": "resize{n}", "items": [1, 2]},
        {"action": "map", "key": "resize{n}"},
        {"map": "resize{n}", "output": [10, 20]},
        [10, 20],
    ),
)
SUSPENSIONS = DEEDS[3:]


def numbered(value: Any, number: int) -> Any:
    """The value with `{n}` replaced."""
    return json.loads(json.dumps(value).replace("{n}", str(number)))


def name_of(first: Deed, second: Deed) -> str:
    """What the case of a pair is called."""
    return f"{first.title.replace(' ', '-')}-is-replayed-after-{second.title.replace(' ', '-')}"


def case_of(first: Deed, second: Deed) -> dict[str, Any]:
    """The case: nothing is done twice, and all outputs reach the code."""
    one, two = (Deed(*numbered(list(deed), number)) for number, deed in ((1, first), (2, second)))
    last = {"action": "step_complete", "key": "last", "output": "last"}
    records = [one.record, two.record]
    return {
        "rule": f"The record of {first.title} is replayed after {second.title}: it is there, and not done again",
        "rules": ["R14", "R2"],
        "profile": "kit",
        "workflow": "conformance.calls",
        "input": {"calls": [one.call, two.call, {"step": "last"}]},
        "turns": [
            {"say": first.title, "answer": one.action},
            {"say": second.title, "records": records[:1], "answer": two.action},
            {"say": "behind both", "records": records, "answer": last},
            {
                "say": "all is recorded",
                "records": [*records, {"step": "last", "output": "done"}],
                "answer": {"action": "complete", "output": [one.output, two.output, "done"]},
            },
        ],
    }


def next_run_of(first: Deed) -> tuple[str, dict[str, Any]]:
    """The case in which the run ends behind it: the next run does it again."""
    one = Deed(*numbered(list(first), 1))
    calls = [one.call, {"continue_as_new": {"calls": [one.call]}}]
    case = {
        "rule": f"After {first.title} the run may end: its record is replayed before, and the next run does it anew",
        "rules": ["R14", "A13"],
        "profile": "kit",
        "workflow": "conformance.calls",
        "input": {"calls": calls},
        "turns": [
            {"say": first.title, "answer": one.action},
            {
                "say": "the run ends",
                "records": [one.record],
                "answer": {"action": "continue_as_new", "input": {"calls": [one.call]}},
            },
            {"say": "the next run", "input": {"calls": [one.call]}, "request": {"run": 2}, "answer": one.action},
            {
                "say": "its record",
                "input": {"calls": [one.call]},
                "records": [one.record],
                "request": {"run": 2},
                "answer": {"action": "complete", "output": [one.output]},
            },
        ],
    }
    return f"{first.title.replace(' ', '-')}-is-done-anew-in-the-next-run", case


def rendered() -> Iterator[tuple[Path, str]]:
    """All files with their text."""
    cases = [(name_of(first, second), case_of(first, second)) for first in DEEDS for second in SUSPENSIONS]
    cases += [next_run_of(first) for first in DEEDS]
    for name, case in cases:
        lines = [f"  {json.dumps(field)}: {_shown(field, value)}" for field, value in case.items()]
        yield CASES / f"{name}.json", "{\n" + ",\n".join(lines) + "\n}\n"


def _shown(field: str, value: Any) -> str:
    if field != "turns":
        return json.dumps(value)
    return "[\n" + ",\n".join(f"    {json.dumps(turn)}" for turn in value) + "\n  ]"


def main(arguments: Sequence[str]) -> int:
    """Check or write the files; returns the exit status."""
    files = dict(rendered())
    if list(arguments) == ["--write"]:
        for path, text in files.items():
            path.write_text(text, encoding="utf-8")
        return 0
    if list(arguments) != ["--check"]:
        sys.stderr.write("usage: python tools/replay_cases.py --check | --write\n")
        return 2
    stale = [path.name for path, text in files.items() if not path.exists() or path.read_text("utf-8") != text]
    if stale:
        sys.stderr.write(f"{', '.join(stale)}: stale; run `python tools/replay_cases.py --write`\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
