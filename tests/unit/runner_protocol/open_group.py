"""A group of members as a test's engine has it."""

from typing import Any

from runner_protocol.messages import Map, Parallel


class OpenGroup:
    """A group whose members are asked for, the last first: the order must not count."""

    def __init__(self, action: Parallel | Map) -> None:
        self.action = action
        self.members = action.members if isinstance(action, Parallel) else None
        self.inputs = action.items if isinstance(action, Map) else [member.input for member in action.members]
        self.total = len(self.inputs)
        self.outputs: dict[int, Any] = {}
        self.failures: dict[int, list[str]] = {}
        self.failed: set[int] = set()

    def key(self, index: int) -> str:
        """The key of one member."""
        return f"{self.action.key}[{index}]" if self.members is None else f"{self.action.key}/{self.name(index)}"

    def name(self, index: int) -> str:
        """The name of one member."""
        return self.action.name if self.members is None else self.members[index].name

    def member(self, index: int) -> dict[str, Any]:
        """What the engine says of one member."""
        names = {"group": self.action.key, "name": self.name(index), "key": self.key(index)}
        return {**names, "index": index, "total": self.total, "input": self.inputs[index]}

    def next_member(self) -> tuple[int, list[str]]:
        """One that has not ended, and how it has failed so far."""
        index = max(index for index in range(self.total) if index not in self.outputs and index not in self.failed)
        return index, self.failures.setdefault(index, [])

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do."""
        is_failing = bool(self.failed) and self.action.fail_fast
        return is_failing or len(self.outputs) + len(self.failed) == self.total

    @property
    def output(self) -> Any:
        """What the group comes to."""
        ordered = [self.outputs[index] for index in range(self.total)]
        return ordered if self.members is None else {self.name(index): out for index, out in enumerate(ordered)}
