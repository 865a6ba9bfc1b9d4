"""An instance's history as rows that people read: when, what, how long, and what came of it."""

import json
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

Json = Mapping[str, Any]

_AWAITED = {"awaiting_approval": "for the decision", "waiting_for_child": "for the child"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line: seconds since the start, what happened, to which step or event, how long it took, in words."""

    offset_s: float
    what: str
    name: str = ""
    took_s: float | None = None
    detail: str = ""


def timeline(history: Sequence[Json]) -> list[Row]:
    """The rows of a history as `GET /{id}/history` answers it, but for those that tell a reader nothing."""
    return [row for entry, row in rows_of(history) if entry["type"] != "run_started"]


def rows_of(history: Sequence[Json]) -> list[tuple[Json, Row]]:
    """Each transition of a history, and its row; kinds that this release does not know stay readable."""
    if not history:
        return []
    begin = _time(history[0]["at"])
    rows: list[tuple[Json, Row]] = []
    group: Json = {}
    for entry in history:
        if entry["type"] == "group_started":
            group = entry
        elif entry["type"].startswith("member_"):
            entry = {**entry, "name": _member(group, entry["index"])}  # noqa: PLW2901  the same, by its name
        what, name, took_s, detail = _DESCRIBED.get(entry["type"], _unknown)(entry, history)
        offset_s = (_time(entry["at"]) - begin).total_seconds()
        rows.append((entry, Row(offset_s=offset_s, what=what, name=name, took_s=took_s, detail=detail)))
    return rows


def situation(instance: Json, now: datetime) -> str:
    """What the instance does at this moment, in a sentence; nothing of an instance that has ended."""
    if instance["blocked_reason"] is not None:
        return f"blocked: {instance['blocked_reason']}"
    wake, retry, awaited = instance["wake_at"], instance["retry_at"], instance["waiting_for"]
    if awaited is not None:
        what = _AWAITED.get(instance.get("status", ""), "for the event")
        return f"waits {what} {awaited}" + ("" if wake is None else f" until {_when(wake, now)}")
    if wake is not None:
        return f"sleeps until {_when(wake, now)}"
    if retry is not None:
        return f"tries again at {_when(retry, now)}"
    if (runner := instance.get("waiting_for_runner")) is not None:  # which an older engine does not tell
        next_try = _when(_time(runner["next_try_at"]).timestamp(), now)
        return f"waits for the runner since {runner['since']}, asks again at {next_try}: {runner['reason']}"
    return ""


def length(seconds: float) -> str:
    """A length of time with two or three figures that matter: `12 ms`, `1.25 s`, `3m 20s`, `2d 4h`."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.995:
        return f"{seconds:.2f} s"
    parts, left = [], round(seconds)
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])


def compact(value: Any) -> str:
    """JSON on one line; nothing for null."""
    return "" if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


Described = tuple[str, str, float | None, str]


def _started(entry: Json, _history: Sequence[Json]) -> Described:
    delay = "" if entry["due_at"] is None else f"not before {entry['due_at']} "
    return "started", entry["name"], None, delay + compact(entry["input"])


def _error(entry: Json) -> str:
    kind, text = (entry.get("detail") or {}).get("type"), str(entry["error"])
    if not kind or text.partition(":")[0] == kind.rpartition(".")[2]:  # the text begins with it
        return text
    return f"{kind}: {text}"


def _whose(entry: Json) -> str:
    """The step's name; of an answer that named none, the code that raised, else the turn as a whole."""
    if entry["name"] != "unknown" or entry.get("after") is not None:
        return str(entry["name"])
    return "the workflow's function" if entry.get("detail") else "the turn"


def _step(entry: Json, _history: Sequence[Json]) -> Described:
    return "step", entry["name"], entry["duration_ms"] / 1000, compact(entry["output"])


def _retry(entry: Json, _history: Sequence[Json]) -> Described:
    wait = length(max((_time(entry["retry_at"]) - _time(entry["at"])).total_seconds(), 0))
    detail = f"attempt {entry['failures']} failed: {_error(entry)}; retry in {wait}"
    return "retry", _whose(entry), entry["duration_ms"] / 1000, detail


def _step_failed(entry: Json, _history: Sequence[Json]) -> Described:
    detail = f"attempt {entry['failures']} failed for good: {_error(entry)}"
    # An answer that named no step, such as that of an error in the workflow's own code.
    if entry["name"] == "unknown" and entry.get("position") is None:
        return "turn failed", "", entry["duration_ms"] / 1000, detail
    return "step failed", entry["name"], entry["duration_ms"] / 1000, detail


def _sleep(entry: Json, _history: Sequence[Json]) -> Described:
    seconds = (_time(entry["due_at"]) - _time(entry["at"])).total_seconds()
    return "sleep", entry["name"].removeprefix("sleep:"), seconds, f"until {entry['due_at']}"


def _wait(entry: Json, _history: Sequence[Json]) -> Described:
    return "wait", entry["event"], None, "" if entry["due_at"] is None else f"until {entry['due_at']}"


def _event(entry: Json, _history: Sequence[Json]) -> Described:
    named = "" if entry["event_id"] is None else f"{entry['event_id']} "
    return "event", entry["event"], None, named + compact(entry["data"])


def _event_taken(entry: Json, history: Sequence[Json]) -> Described:
    return "event taken", _event_at(history, entry["source"]), _since(entry["started_at"], entry["at"]), ""


def _event_at(history: Sequence[Json], revision: int) -> str:
    """The name of the event that came then; one that came in a run that was deleted is listed where those were."""
    place = bisect_left(history, revision, key=lambda entry: int(entry["revision"]))
    if history[place]["revision"] == revision:
        return str(history[place]["event"])
    return next((event for event, came_at, _ in history[place].get("inbox", ()) if came_at == revision), "")


def _deleted(entry: Json, _history: Sequence[Json]) -> Described:
    return "next run", "", None, f"number {entry['run']}; the runs before were deleted {compact(entry['input'])}"


def _timed_out(entry: Json, _history: Sequence[Json]) -> Described:
    return "timed out", entry["event"], _since(entry["started_at"], entry["at"]), "no event came"


def _skipped(entry: Json, _history: Sequence[Json]) -> Described:
    return "skipped", entry["name"], None, entry["reason"]


def _gate(entry: Json, _history: Sequence[Json]) -> Described:
    until = "" if entry["due_at"] is None else f"until {entry['due_at']} "
    return "approval", entry["key"], None, (until + entry["message"]).rstrip()


def _decided(entry: Json, _history: Sequence[Json]) -> Described:
    who = "" if entry["by"] is None else f"by {entry['by']} "
    what = "approved" if entry["is_approved"] else "rejected"
    return what, entry["key"], _since(entry["started_at"], entry["at"]), (who + (entry["comment"] or "")).rstrip()


def _undecided(entry: Json, _history: Sequence[Json]) -> Described:
    return "timed out", entry["key"], _since(entry["started_at"], entry["at"]), "nobody decided"


def _group(entry: Json, _history: Sequence[Json]) -> Described:
    return entry["kind"], entry["key"], None, f"{len(entry['members'])} members, {entry['max_in_flight']} at a time"


def _member(group: Json, index: int) -> str:
    """The key of a member, as the engine makes it."""
    if group["kind"] == "map":
        return f"{group['key']}[{index}]"
    return f"{group['key']}/{group['members'][index][0]}"


def _group_done(entry: Json, _history: Sequence[Json]) -> Described:
    return "group done", entry["key"], None, ""


def _group_failed(entry: Json, _history: Sequence[Json]) -> Described:
    return "group failed", entry["key"], None, entry["error"]


def _child(entry: Json, _history: Sequence[Json]) -> Described:
    return "child", entry["key"], None, f"{entry['workflow']} {entry['child_id']}"


def _child_done(entry: Json, _history: Sequence[Json]) -> Described:
    came_of_it = entry["error"] or compact(entry.get("output"))
    return f"child {entry['status']}", entry["key"], _since(entry["started_at"], entry["at"]), came_of_it


def _continued(entry: Json, _history: Sequence[Json]) -> Described:
    return "next run", "", None, compact(entry["input"])


def _completed(entry: Json, history: Sequence[Json]) -> Described:
    return "completed", "", _since(history[0]["at"], entry["at"]), compact(entry["output"])


def _failed(entry: Json, history: Sequence[Json]) -> Described:
    return "failed", "", _since(history[0]["at"], entry["at"]), _error(entry)


def _blocked(entry: Json, _history: Sequence[Json]) -> Described:
    return "blocked", "", None, entry["reason"]


def _unknown(entry: Json, _history: Sequence[Json]) -> Described:
    return entry["type"].removeprefix("instance_").replace("_", " "), str(entry.get("name", "")), None, ""


_DESCRIBED: Mapping[str, Callable[[Json, Sequence[Json]], Described]] = {
    "instance_started": _started,
    "step_succeeded": _step,
    "attempt_failed": _retry,
    "step_failed": _step_failed,
    "sleep_started": _sleep,
    "wait_started": _wait,
    "event_received": _event,
    "event_taken": _event_taken,
    "wait_timed_out": _timed_out,
    "step_skipped": _skipped,
    "approval_requested": _gate,
    "approval_decided": _decided,
    "approval_timed_out": _undecided,
    "group_started": _group,
    "member_succeeded": _step,
    "member_attempt_failed": _retry,
    "member_failed": _step_failed,
    "group_succeeded": _group_done,
    "group_failed": _group_failed,
    "child_started": _child,
    "child_finished": _child_done,
    "run_continued": _continued,
    "earlier_runs_deleted": _deleted,
    "instance_completed": _completed,
    "instance_failed": _failed,
    "instance_blocked": _blocked,
}


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _since(begin: str, end: str) -> float:
    return (_time(end) - _time(begin)).total_seconds()


def _when(unix: float, now: datetime) -> str:
    moment = datetime.fromtimestamp(unix, UTC)
    left = (moment - now).total_seconds()
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC" + (f" (in {length(left)})" if left > 0 else "")
