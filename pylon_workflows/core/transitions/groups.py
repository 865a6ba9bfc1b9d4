"""The members of a `parallel` or a `map`."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupStarted:
    """A `parallel` or a `map` has begun. `members_json` is `[[name, input], ...]`, or for a map `[item, ...]`."""

    at: datetime
    kind: str
    key: str
    name: str
    fail_fast: bool
    max_in_flight: int
    members_json: bytes
    after: int | None = None
    notes_json: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberSucceeded:
    """A member of the group ran; `index` counts members from 0."""

    at: datetime
    index: int
    started_at: datetime
    completed_at: datetime
    duration_ms: int
    output_json: bytes
    notes_json: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberAttemptFailed:
    """An attempt of a member failed and is retried at `retry_at`; `failures` counts it."""

    at: datetime
    index: int
    failures: int
    error: str
    started_at: datetime
    completed_at: datetime
    duration_ms: int
    retry_at: datetime
    detail_json: bytes | None = None
    notes_json: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberFailed:
    """A member failed for good."""

    at: datetime
    index: int
    failures: int
    error: str
    started_at: datetime
    completed_at: datetime
    duration_ms: int
    detail_json: bytes | None = None
    notes_json: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSucceeded:
    """All members have succeeded: the output is theirs, in the order of the members."""

    at: datetime
    key: str
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFailed:
    """Members have failed for good, whom `error` names; those that never ran are skipped."""

    at: datetime
    key: str
    position: int
    error: str
