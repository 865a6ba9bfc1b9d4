"""What receivers outside are told of instances: that one has completed, failed, was cancelled, or is blocked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from pylon_workflows.core.instance import Status
from pylon_workflows.summaries import InstanceSummary

LONGEST_BACKOFF = timedelta(hours=1)
"""Between two attempts to deliver a notice."""

NOTICED = (Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.BLOCKED)
"""Whoever comes into one of these has a notice written for each receiver that wants it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """Which notices a receiver wants, by whose `key` they are kept; `workflows` are names, None means all."""

    key: str
    statuses: frozenset[Status]
    workflows: frozenset[str] | None = None

    def wants(self, status: Status, name: str) -> bool:
        """Whether it is to be told of an instance of that workflow that has come into that status."""
        return status in self.statuses and (self.workflows is None or name in self.workflows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """An instance as it was when it came into its status at the time `at`; `attempts` to tell of it have failed.

    `message_id` is the notice's own, the same for each attempt.
    """

    key: int
    message_id: str
    at: datetime
    attempts: int
    instance_id: str
    name: str
    version: str | None
    run: int
    revision: int
    status: Status
    error: str | None
    blocked_reason: str | None
    parent_id: str | None
    tags: Mapping[str, str] = field(hash=False)
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None

    @staticmethod
    def of(summary: InstanceSummary, *, key: int, message_id: str, at: datetime) -> "Notice":
        """A new one about the instance as it is now."""
        return Notice(
            key=key,
            message_id=message_id,
            at=at,
            attempts=0,
            instance_id=summary.id,
            name=summary.name,
            version=summary.version,
            run=summary.run,
            revision=summary.revision,
            status=summary.status,
            error=summary.error,
            blocked_reason=summary.blocked_reason,
            parent_id=summary.parent_id,
            tags=summary.tags,
            created_at=summary.created_at,
            started_at=summary.started_at,
            completed_at=summary.completed_at,
        )


class UnreadableNotice(NamedTuple):
    """A notice that this process cannot read, and why; `at` and `attempts` as far as they can be."""

    key: int
    at: datetime | None
    attempts: int
    reason: str


class GivenUp(NamedTuple):
    """A message that was given up, and the instance that it was about."""

    message_id: str
    instance_id: str
