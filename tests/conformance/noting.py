"""The notes of the reference runner: what the code and its steps put down beside the records."""

from contextvars import ContextVar
from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from runner_protocol.fields import format_timestamp

Note = dict[str, Any]

body_notes: ContextVar[list[Note] | None] = ContextVar("body_notes", default=None)
"""Those of the step whose body runs."""


class Noting:
    """The part of a turn that keeps notes."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.vars = dict(request.get("vars", {}))
        self.made = 0
        self.sent = self.applied(request)
        self.unsent: list[Note] = []
        self.log = SimpleNamespace(info=self.log_line)

    def applied(self, request: dict[str, Any]) -> int:
        return int(request.get("noted", 0))

    def set(self, values: dict[str, Any]) -> None:
        self.change({"vars": values})

    def unset(self, name: str) -> None:
        self.change({"unset": [name]})

    def usage(self, **spent: Any) -> None:
        self.note({"usage": spent})

    def progress(self, **progress: Any) -> None:
        self.note({"progress": progress})

    def log_line(self, message: str) -> None:
        self.note({"logs": [{"at": format_timestamp(datetime.now(UTC)), "message": message}]})

    def change(self, note: Note) -> None:
        if body_notes.get() is not None:
            raise RuntimeError("a variable is set by the workflow's function")
        self.vars |= note.get("vars", {})
        for name in note.get("unset", ()):
            self.vars.pop(name, None)
        self.note(note)

    def note(self, note: Note) -> None:
        own = body_notes.get()
        if own is not None:
            own.append(note)
            return
        self.made += 1
        if self.made > self.sent:
            self.unsent.append(note)

    def with_notes(self, action: dict[str, Any], own: list[Note]) -> dict[str, Any]:
        """The action with the notes that go out with it."""
        if action["action"] in ("diverged", "defer", "step_start"):
            return action
        notes, self.unsent = self.unsent, []
        counted = {"noted": self.made} if notes else {}
        self.sent = max(self.sent, self.made)
        return {**action, **merged([*notes, *own]), **counted}


def merged(notes: list[Note]) -> Note:
    """Several as one: the latest of a name counts, costs are summed."""
    fields: Note = {}
    for note in notes:
        for kind, value in note.items():
            if kind == "vars":
                fields["unset"] = [name for name in fields.get("unset", ()) if name not in value]
                fields["vars"] = {**fields.get("vars", {}), **value}
            elif kind == "unset":
                fields["vars"] = {name: old for name, old in fields.get("vars", {}).items() if name not in value}
                fields["unset"] = [*fields.get("unset", ()), *value]
            elif kind == "usage":
                fields["usage"] = total(fields.get("usage", {}), value)
            elif kind == "logs":
                fields["logs"] = [*fields.get("logs", ()), *value]
            else:
                fields[kind] = value
    return {kind: value for kind, value in fields.items() if value}


def total(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Two costs together."""
    cost = Decimal(first.get("cost_usd", "0")) + Decimal(second.get("cost_usd", "0"))
    tokens = {
        kind: first.get(kind, 0) + second.get(kind, 0)
        for kind in ("input_tokens", "output_tokens")
        if kind in first or kind in second
    }
    return {"cost_usd": str(cost), **tokens}
