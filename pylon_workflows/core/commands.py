"""What the core can be asked to decide."""

from dataclasses import dataclass
from datetime import datetime

from runner_protocol.messages import Action

MAX_UNREAD_EVENTS = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyAction:
    """Apply the runner's answer to the turn that began at `turn_started_at`; `jitter` (0 to 1) spreads retries."""

    action: Action
    turn_started_at: datetime
    jitter: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FailTurn:
    """Count a turn without a proper answer (late or malformed) as a failed attempt of the position now due."""

    error: str
    turn_started_at: datetime
    jitter: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverEvent:
    """Accept an event, once per `event_id`, unless `max_unread` wait already; `data_json` is canonical JSON."""

    event: str
    data_json: bytes
    event_id: str | None = None
    max_unread: int = MAX_UNREAD_EVENTS


@dataclass(frozen=True, slots=True, kw_only=True)
class WakeUp:
    """Do what is due, if anything is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """End the instance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Park the instance with a reason that a person understands."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """Let a blocked instance go on."""


Command = ApplyAction | FailTurn | DeliverEvent | WakeUp | Cancel | Block | Resume
