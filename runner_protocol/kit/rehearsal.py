"""What a workflow's code would do next, asked without its doing it."""

from dataclasses import dataclass

from runner_protocol.messages import Action


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """How far the code came over the records: either it asks for more, by these keys, or this action is its end.

    The key called first is the first; several are asked for at the same time. An end is a Complete, a Fail, a
    ContinueAsNew, a Diverged, or a Defer.
    """

    next_keys: tuple[str, ...] = ()
    end: Action | None = None
