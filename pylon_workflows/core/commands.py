"""What the core can be asked to decide."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pylon_workflows.core.construction import quickly_made
from pylon_workflows.core.instance import Terms
from pylon_workflows.core.transitions import InstanceStarted
from runner_protocol.action_lines import PlainStep
from runner_protocol.messages import Action

MAX_UNREAD_EVENTS = 2_000


@quickly_made
@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyAction:
    """Apply an action of the runner's answer to the turn that began at `turn_started_at`.

    `goes_on` says that it is not the first of its answer: then what the answer itself has scheduled does not make it
    late. `jitter` (0 to 1) spreads retries. A `start_child` comes with the child as it would be, or with the reason why
    there can be none; a `continue_as_new` with the definition's present terms.
    """

    action: Action
    turn_started_at: datetime
    jitter: float = 1.0
    goes_on: bool = False
    child: InstanceStarted | None = None
    child_refusal: str | None = None
    terms: Terms | None = None


@quickly_made
@dataclass(frozen=True, slots=True, kw_only=True)
class ApplySteps:
    """Apply steps that one answer says have run, as an `ApplyAction` each would, at a fraction of the price.

    It ends before the first that does not fit, or that comes when the run has `max_bytes`: that is to be judged alone.
    For the first of them `turn_started_at` and `goes_on` say what they do there.
    """

    steps: Sequence[PlainStep]
    turn_started_at: datetime
    max_bytes: int
    goes_on: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FailTurn:
    """Count a turn without a proper answer (late or malformed) as a failed attempt of the position now due.

    `goes_on` says that actions of the answer have been applied before; see `ApplyAction`.
    """

    error: str
    turn_started_at: datetime
    jitter: float = 1.0
    goes_on: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyMember:
    """Apply the answer to a call of the group's member `index`, its attempt number `attempt` (from 1) in that run.

    `action` is what the runner answered, or the sentence for a call without a proper answer, which counts as failed.
    """

    run: int
    group: str
    index: int
    attempt: int
    action: Action | str
    called_at: datetime
    jitter: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EndGroup:
    """End the group that has failed, now that no call of its members is in flight."""

    run: int
    group: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DecideApproval:
    """A person's decision about the gate `key`; `data_json` is canonical JSON. A `seed` says in which run."""

    key: str
    is_approved: bool
    seed: str | None = None
    by: str | None = None
    comment: str | None = None
    data_json: bytes = b"null"


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishChild:
    """A child has finished: what the parent's record of `key` in that `run` comes to."""

    run: int
    key: str
    child_id: str
    status: str
    error: str | None = None
    output_json: bytes | None = None
    usage_json: bytes | None = None


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


Command = (
    ApplyAction
    | ApplySteps
    | FailTurn
    | ApplyMember
    | EndGroup
    | DecideApproval
    | FinishChild
    | DeliverEvent
    | WakeUp
    | Cancel
    | Block
    | Resume
)
