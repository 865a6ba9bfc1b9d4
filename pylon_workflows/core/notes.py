"""What an action carries beside its own business, as a history keeps it and as it is applied.

`notes_json` is an object of those members that are there: `vars`, `unset`, `usage`, `progress`, `logs`, `noted`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pylon_workflows.core.usage import Usage
from pylon_workflows.core.variables import Variables
from runner_protocol.strict_json import encode_parsed

_SHOWN = ("usage", "vars", "unset")
"""What a record shows of the notes that were applied with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far an instance has come, for people."""

    percent: float | None = None
    message: str | None = None


def applied(notes_json: bytes, variables: Variables, usage: Usage) -> dict[str, Any]:
    """How the instance changes that has these variables and this usage: its fields by name."""
    notes: Mapping[str, Any] = json.loads(notes_json)
    changes: dict[str, Any] = {}
    if "vars" in notes or "unset" in notes:
        changes["vars"] = variables.changed(notes.get("vars", {}), notes.get("unset", ()))
    if "usage" in notes:
        changes["usage"] = usage.plus(Usage.from_json(encode_parsed(notes["usage"])))
    if "progress" in notes:
        progress = notes["progress"]
        changes["progress"] = Progress(percent=progress.get("percent"), message=progress.get("message"))
    if "noted" in notes:
        changes["noted"] = notes["noted"]
    return changes


def shown(notes_json: bytes | None, *, cost: bytes | None = None) -> bytes | None:
    """What the record shows of them, as an object; `cost` is the usage of a child, which counts too."""
    if notes_json is None:
        return None if cost is None else b'{"usage":%b}' % cost
    notes: Mapping[str, Any] = json.loads(notes_json)
    members = {name: encode_parsed(notes[name]) for name in _SHOWN if name in notes}
    if cost is not None:
        total = Usage.from_json(cost).plus(Usage.from_json(members.get("usage", b"{}")))
        members["usage"] = total.json
    if not members:
        return None
    return b"{%b}" % b",".join(b'"%b":%b' % (name.encode(), value) for name, value in members.items())
