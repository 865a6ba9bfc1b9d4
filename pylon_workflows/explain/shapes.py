"""What is told of an instance that somebody asks about, and the facts of which that is made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal

from pylon_workflows.core.instance import Status
from pylon_workflows.core.transitions import Transition
from pylon_workflows.published import KeptUnder
from pylon_workflows.summaries import InstanceSummary, RunnerWait


class Reason(StrEnum):
    """Why an instance does nothing else at this moment.

    `in_flight`: the runner is being asked. `queued`: it is to be asked as soon as there is a place. `runner`: the
    runner is away, or puts it off. `no_runner`: the engine has none. `elsewhere`: another process drives it, and does
    not answer. `unexplained`: there is no reason, which is a fault of the engine or of its file.
    """

    FINISHED = "finished"
    BLOCKED = "blocked"
    UNREADABLE = "unreadable"
    DELAYED = "delayed"
    SLEEPING = "sleeping"
    RETRY = "retry"
    EVENT = "event"
    APPROVAL = "approval"
    CHILD = "child"
    IN_FLIGHT = "in_flight"
    QUEUED = "queued"
    RUNNER = "runner"
    NO_RUNNER = "no_runner"
    ELSEWHERE = "elsewhere"
    UNEXPLAINED = "unexplained"


Place = Literal["asked", "queued", "postponed", "stored", "nowhere", "no_runner", "elsewhere"]
"""Where a runnable instance is for the engine: `stored` is in the file, to be read when there is room; `nowhere` is a
fault; `elsewhere` is with the process that drives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Driving:
    """What only the process that drives knows: where an instance is, since when it is asked about, what keeps it."""

    place: Place
    asked_at: datetime | None = None
    turns_in_flight: int = 0
    wait: RunnerWait | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptEvent:
    """A published event that nobody has claimed yet."""

    event: str
    received_at: datetime
    data_json: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of an instance beside its own state.

    `recent` are its last transitions. `child` is the one that it waits for, None when that is not there. `kept` are
    published events with its wait's correlation key, `under_other_keys` those with its wait's name and another key, the
    newest first. `received_at` tells of events in the inbox, by their revisions.
    """

    now: datetime
    driving: Driving = Driving(place="elsewhere")
    recent: Sequence[Transition] = ()
    child: InstanceSummary | None = None
    kept: Sequence[KeptEvent] = ()
    under_other_keys: Sequence[KeptUnder] = ()
    received_at: Mapping[int, datetime] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class NearMiss:
    """An event that is there and is not the one that is waited for: in the instance's `inbox`, or `kept` for nobody."""

    event: str
    received_at: datetime | None
    where: Literal["inbox", "kept"]
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherKeys:
    """Events of the name that is waited for, kept under other correlation keys: how many, of the newest 1,000 kept.

    `newest` are at most five of the keys, each with the time of its last event, the last first.
    """

    count: int
    newest: tuple[KeptUnder, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What the runner last said about an instance, or that it says nothing, and since when."""

    at: datetime
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why an instance is where it is.

    `summary` is a sentence without its subject: `waits for the event 'paid' since ...`. `since` is the time since which
    that is so, `next_at` when it goes on by itself, or is asked about again. `ways_on` are sentences: what would let it
    go on. `near_misses` are at most ten, the likeliest first; `other_keys` tells of events of the right name under
    wrong keys, None where there are none; `unread_events` counts the inbox.
    """

    id: str
    name: str
    status: Status
    revision: int
    reason: Reason
    summary: str
    since: datetime | None = None
    next_at: datetime | None = None
    waiting_for: str | None = None
    ways_on: tuple[str, ...] = ()
    runner_said: Said | None = None
    near_misses: tuple[NearMiss, ...] = ()
    other_keys: OtherKeys | None = None
    unread_events: int = 0

    def __str__(self) -> str:
        said = [] if self.runner_said is None else [f"the runner last said: {self.runner_said.text}"]
        near = [f"{miss.event!r} {miss.why}" for miss in self.near_misses]
        if self.other_keys is not None:
            keys = ", ".join(repr(each.correlation) for each in self.other_keys.newest)
            near.append(
                f"kept events named {self.waiting_for!r} under other keys: {self.other_keys.count}, under {keys}"
            )
        return "\n".join([f"{self.id} {self.summary}", *self.ways_on, *said, *near])
