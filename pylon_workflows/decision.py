"""What follows from several commands, each decided upon the state that the one before led to; stored as one change."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from pylon_workflows.core.commands import ApplyAction, ApplySteps, Command
from pylon_workflows.core.decider import decide
from pylon_workflows.core.evolution import begin, evolve, evolve_all
from pylon_workflows.core.instance import Instance
from pylon_workflows.core.transitions import ChildStarted, InstanceStarted, Transition

_NOBODY: Mapping[str, Instance | None] = {}


class TakenIdError(Exception):
    """Of an instance that was to start with a change the id is taken; nothing was changed."""

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.id = id


def has_family(instance: Instance) -> bool:
    """Whether anybody is concerned by its end: a parent that has started it, or a child that ends with it."""
    if instance.origin.parent_key is not None:
        return True
    return any(child.on_parent_close == "cancel" for child in instance.children.values())


class Decision:
    """The state `after` the commands so far, the `transitions` that lead there, and the instances that start with it.

    `run` was the instance's before, `at` is the time of all of it. `known` are instances whose ids were wanted for
    children and are taken, by id; null where they cannot be read. `found` are those of them that the same record has
    started before.
    """

    __slots__ = ("after", "at", "found", "known", "run", "starts", "transitions")

    def __init__(self, instance: Instance, at: datetime, known: Mapping[str, Instance | None] | None = None) -> None:
        self.after = instance
        self.run = instance.run
        self.at = at
        self.known = _NOBODY if known is None else known
        self.transitions: list[Transition] = []
        self.starts: tuple[Instance, ...] = ()
        self.found: tuple[Instance, ...] = ()

    def add(self, command: Command) -> int:
        """Decide one more command; how many transitions follow. Raises what `decide` raises, and adds nothing then."""
        after = self.after
        decided = decide(after, command, self.at)
        for transition in decided:
            after = evolve(after, transition)
        self.after = after
        self.transitions += decided
        if isinstance(command, ApplyAction) and command.child is not None:
            self._start(command.child, decided)
        return len(decided)

    def add_steps(self, command: ApplySteps) -> int:
        """Decide steps together; how many of them, from the first, follow."""
        before = self.after.current_step
        decided = decide(self.after, command, self.at)
        self.after = evolve_all(self.after, decided)
        self.transitions += decided
        return self.after.current_step - before

    def _start(self, child: InstanceStarted, decided: Sequence[Transition]) -> None:
        for transition in decided:
            if isinstance(transition, ChildStarted):
                former = self.known.get(transition.child_id)
                if former is None:
                    self.starts += (begin(child),)
                else:
                    self.found += (former,)
