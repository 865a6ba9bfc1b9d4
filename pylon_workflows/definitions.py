"""What the engine knows of a workflow: its name and the terms on which its instances run."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from pylon_workflows.canonical_json import checked_text
from pylon_workflows.core.retry import RetryPolicy
from pylon_workflows.errors import (
    DescriptionTooLongError,
    DurationTooLongError,
    InvalidInputError,
    TooManyRetriesError,
    UnknownWorkflowError,
)
from runner_protocol.durations import MAX_DURATION

MAX_RETRIES = 1_000_000
MAX_DESCRIPTION_LENGTH = 10_000


@dataclass(frozen=True, slots=True)
class WorkflowDefinition:
    """A workflow's registration. An instance keeps the terms of the definition that its run started with.

    `step_timeout` is how long a turn may take without an answer. The backoff between attempts doubles from
    `initial_backoff` to `maximum_backoff`, with full jitter. At most `max_in_flight` of its instances have a turn with
    the runner at a time; None is its fair share of the engine's places, and no number is more than that. This one term
    applies to running instances too, as soon as it is registered.

    Raises:
        InvalidInputError: a name that is empty or too long, a negative number, a timeout that is not positive, no place
            at all.
    """

    name: str
    version: str | None = field(default=None, kw_only=True)
    description: str | None = field(default=None, kw_only=True)
    max_retries: int = field(default=3, kw_only=True)
    step_timeout: timedelta = field(default=timedelta(seconds=30), kw_only=True)
    initial_backoff: timedelta = field(default=timedelta(seconds=1), kw_only=True)
    maximum_backoff: timedelta = field(default=timedelta(minutes=5), kw_only=True)
    max_in_flight: int | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        for text, what in ((self.name, "name"), (self.version, "version")):
            if text is not None:
                checked_text(text, what)
        if self.description is not None and len(self.description) > MAX_DESCRIPTION_LENGTH:
            raise DescriptionTooLongError(f"description: must have at most {MAX_DESCRIPTION_LENGTH:,} characters")
        if not 0 <= self.max_retries <= MAX_RETRIES:
            kind = TooManyRetriesError if self.max_retries > MAX_RETRIES else InvalidInputError
            raise kind(f"max_retries: must be from 0 to {MAX_RETRIES:,}, not {self.max_retries}")
        if self.max_in_flight is not None and not 1 <= self.max_in_flight <= 1_000_000:
            raise InvalidInputError(f"max_in_flight: must be from 1 to 1,000,000, not {self.max_in_flight}")
        for what in ("step_timeout", "initial_backoff", "maximum_backoff"):
            if not isinstance(length := getattr(self, what), timedelta):
                raise InvalidInputError(f"{what}: must be a timedelta, not {length!r}")
            if length > MAX_DURATION:
                raise DurationTooLongError(f"{what}: must be at most 100 years, not {length}")
        if not timedelta(0) < self.step_timeout:
            raise InvalidInputError(f"step_timeout: must be positive and at most 100 years, not {self.step_timeout}")
        if not timedelta(0) <= self.initial_backoff <= self.maximum_backoff:
            raise InvalidInputError("initial_backoff: must not be negative, nor beyond maximum_backoff")

    @property
    def policy(self) -> RetryPolicy:
        """How its failed attempts are retried."""
        return RetryPolicy(
            max_retries=self.max_retries, initial_backoff=self.initial_backoff, maximum_backoff=self.maximum_backoff
        )


class Definitions:
    """The definitions an engine knows. Those registered in code win over those that came over HTTP."""

    def __init__(self) -> None:
        self._stored: dict[str, WorkflowDefinition] = {}
        self._registered: dict[str, WorkflowDefinition] = {}

    def register(self, definition: WorkflowDefinition) -> None:
        """Add or replace a definition of the program's own."""
        self._registered[definition.name] = definition

    def restore(self, definitions: Iterable[WorkflowDefinition]) -> None:
        """Add or replace definitions that the store keeps."""
        self._stored.update((definition.name, definition) for definition in definitions)

    def get(self, name: str) -> WorkflowDefinition:
        """The definition of that name; raises UnknownWorkflowError."""
        found = self._registered.get(name) or self._stored.get(name)
        if found is None:
            known = ", ".join(definition.name for definition in self) or "none"
            raise UnknownWorkflowError(f"no workflow is named {name[:140]!r}; registered: {known[:500]}")
        return found

    def max_in_flight(self, name: str) -> int | None:
        """How many instances of a workflow may have a turn at a time; None where no definition says."""
        found = self._registered.get(name) or self._stored.get(name)
        return None if found is None else found.max_in_flight

    @property
    def has_several(self) -> bool:
        """Whether there is more than one workflow."""
        return len(self._registered) > 1 or len(self._stored) > 1 or len({**self._stored, **self._registered}) > 1

    def __iter__(self) -> Iterator[WorkflowDefinition]:
        return iter(sorted({**self._stored, **self._registered}.values(), key=lambda found: found.name))
