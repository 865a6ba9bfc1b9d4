"""What the engine knows of a workflow: its name and the terms on which its instances run."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Literal

from pylon_workflows.canonical_json import checked_json, checked_text
from pylon_workflows.core.retry import RetryPolicy
from pylon_workflows.declared_types import check_fields, check_type
from pylon_workflows.errors import (
    DescriptionTooLongError,
    DurationTooLongError,
    InvalidInputError,
    SchemaTooLargeError,
    TooManyRetriesError,
    UnknownWorkflowError,
)
from runner_protocol.durations import MAX_DURATION

MAX_RETRIES = 1_000_000
MAX_DESCRIPTION_LENGTH = 10_000
MAX_SCHEMA_BYTES = 64 * 1024

Source = Literal["code", "saved", "runner"]
"""Who made a workflow known: the program; a caller over HTTP, or of `save_definition`; a runner that was asked."""


@dataclass(frozen=True, slots=True)
class WorkflowDefinition:
    """A workflow's registration. An instance keeps the terms of the definition that its run started with.

    `step_timeout` is how long a turn may take without an answer. The backoff between attempts doubles from
    `initial_backoff` to `maximum_backoff`, with full jitter. At most `max_in_flight` of its instances have a turn with
    the runner at a time; None is its fair share of the engine's places, and no number is more than that. This one term
    applies to running instances too, as soon as it is registered. `input_schema` is for whoever starts instances: it is
    shown and not enforced. `source` is set by whoever keeps the definition.

    Raises:
        InvalidInputError: a value of another type; a name that is empty or too long, a negative number, a timeout that
            is not positive, no place at all, a schema that is no JSON object.
    """

    name: str
    version: str | None = field(default=None, kw_only=True)
    description: str | None = field(default=None, kw_only=True)
    max_retries: int = field(default=3, kw_only=True)
    step_timeout: timedelta = field(default=timedelta(seconds=30), kw_only=True)
    initial_backoff: timedelta = field(default=timedelta(seconds=1), kw_only=True)
    maximum_backoff: timedelta = field(default=timedelta(minutes=5), kw_only=True)
    max_in_flight: int | None = field(default=None, kw_only=True)
    input_schema: Mapping[str, Any] | None = field(default=None, kw_only=True, hash=False)
    source: Source = field(default="code", kw_only=True, compare=False)

    def __post_init__(self) -> None:
        check_fields(self)
        for text, what in ((self.name, "name"), (self.version, "version")):
            if text is not None:
                checked_text(text, what)
        if not 0 <= self.max_retries <= MAX_RETRIES:
            kind = TooManyRetriesError if self.max_retries > MAX_RETRIES else InvalidInputError
            raise kind(f"max_retries: must be from 0 to {MAX_RETRIES:,}, not {self.max_retries}")
        if self.max_in_flight is not None and not 1 <= self.max_in_flight <= 1_000_000:
            raise InvalidInputError(f"max_in_flight: must be from 1 to 1,000,000, not {self.max_in_flight}")
        for what in ("step_timeout", "initial_backoff", "maximum_backoff"):
            if (length := getattr(self, what)) > MAX_DURATION:
                raise DurationTooLongError(f"{what}: must be at most 100 years, not {length}")
        if not timedelta(0) < self.step_timeout:
            raise InvalidInputError(f"step_timeout: must be positive and at most 100 years, not {self.step_timeout}")
        if not timedelta(0) <= self.initial_backoff <= self.maximum_backoff:
            raise InvalidInputError("initial_backoff: must not be negative, nor beyond maximum_backoff")
        self._check_what_is_shown()

    def _check_what_is_shown(self) -> None:
        if self.description is not None and len(self.description) > MAX_DESCRIPTION_LENGTH:
            raise DescriptionTooLongError(f"description: must have at most {MAX_DESCRIPTION_LENGTH:,} characters")
        if self.input_schema is not None:
            checked_json(dict(self.input_schema), "input_schema", MAX_SCHEMA_BYTES, SchemaTooLargeError)

    @property
    def policy(self) -> RetryPolicy:
        """How its failed attempts are retried."""
        return RetryPolicy(
            max_retries=self.max_retries, initial_backoff=self.initial_backoff, maximum_backoff=self.maximum_backoff
        )


class Definitions:
    """The definitions an engine knows: those registered in code win over saved ones, these over what runners tell."""

    def __init__(self) -> None:
        self._registered: dict[str, WorkflowDefinition] = {}
        self._saved: dict[str, WorkflowDefinition] = {}
        self._told: dict[str, WorkflowDefinition] = {}
        self.unheard: dict[object, str] = {}
        """Why runners have not said which workflows they have, by whoever is to tell of them."""

    def register(self, definition: WorkflowDefinition) -> None:
        """Add or replace a definition of the program's own."""
        check_type(definition, WorkflowDefinition, "definition")
        is_marked = definition.source == "code"
        self._registered[definition.name] = definition if is_marked else replace(definition, source="code")

    def restore(self, definitions: Iterable[WorkflowDefinition]) -> None:
        """Add or replace definitions that the store keeps, each by its source."""
        for definition in definitions:
            kept = self._told if definition.source == "runner" else self._saved
            kept[definition.name] = definition

    def get(self, name: str) -> WorkflowDefinition:
        """The definition of that name; raises UnknownWorkflowError."""
        found = self._find(name)
        if found is None:
            known = ", ".join(definition.name for definition in self) or "none"
            more = "".join(f"; a runner does not say which it has: {reason}" for reason in self.unheard.values())
            raise UnknownWorkflowError(f"no workflow is named {name[:140]!r}; registered: {known[:500]}{more[:1000]}")
        return found

    def told(self, name: str) -> WorkflowDefinition | None:
        """What a runner has told of a workflow, if one has."""
        return self._told.get(name)

    @property
    def told_count(self) -> int:
        """How many workflows runners have told of."""
        return len(self._told)

    def max_in_flight(self, name: str) -> int | None:
        """How many instances of a workflow may have a turn at a time; None where no definition says."""
        found = self._find(name)
        return None if found is None else found.max_in_flight

    @property
    def has_several(self) -> bool:
        """Whether there is more than one workflow."""
        sources = (self._registered, self._saved, self._told)
        return any(len(source) > 1 for source in sources) or len(self._all()) > 1

    def __contains__(self, name: str) -> bool:
        return self._find(name) is not None

    def __iter__(self) -> Iterator[WorkflowDefinition]:
        return iter(sorted(self._all().values(), key=lambda found: found.name))

    def _find(self, name: str) -> WorkflowDefinition | None:
        return self._registered.get(name) or self._saved.get(name) or self._told.get(name)

    def _all(self) -> dict[str, WorkflowDefinition]:
        return {**self._told, **self._saved, **self._registered}
