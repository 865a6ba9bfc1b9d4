"""A history from production, replayed against new code: does the code still fit, and what would it do next?"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import Protocol

from pylon_workflows.core.evolution import replay
from pylon_workflows.core.instance import Instance, Status
from pylon_workflows.core.transitions import Transition
from pylon_workflows.exports import read_export
from pylon_workflows.hook_keys import HookKeys
from pylon_workflows.testing.memory_engine import HOOKS_IN_TESTS
from pylon_workflows.turn_request import JoinedRecords, request_body
from runner_protocol.messages import Action, Complete, Diverged, Fail


class Rehearsal(Protocol):
    """What a kit's runner says about a request that it does not carry out."""

    @property
    def next_keys(self) -> tuple[str, ...]:
        """The keys that the code asks for next, the one called first first."""
        ...

    @property
    def end(self) -> Action | None:
        """The action with which the code's run ends, where it does."""
        ...


class Rehearses(Protocol):
    """A runner that can say what its code would do: the Python kit's `Runner`."""

    async def rehearse(self, body: bytes, /) -> Rehearsal:
        """Say what the code would do about a request, and do none of it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedCase:
    """What new code makes of an instance's records; as a text it is one sentence.

    `next_keys` are what the code would ask for next, `end` is what it would end with. `is_as_before` says whether an
    instance that has finished would end the same, one that waits would wait for the same, and any other fits.
    """

    instance: Instance
    next_keys: tuple[str, ...]
    end: Action | None

    @property
    def divergence(self) -> str | None:
        """Where the code no longer fits the records, as a sentence; None where it does."""
        if not isinstance(self.end, Diverged):
            return None
        at = f"at position {self.end.position}"
        return f"diverges {at}: the record is {self.end.expected!r}, the code asks for {self.end.got!r}"

    @property
    def is_as_before(self) -> bool:
        """Whether the code does what it did when the history was written."""
        match self.instance.status:
            case Status.COMPLETED:
                return isinstance(self.end, Complete) and self.end.output == self.instance.output
            case Status.FAILED:
                return isinstance(self.end, Fail) or bool(self.next_keys)  # the attempt that failed would be made again
            case _ if self.instance.wait is not None:
                return self.instance.wait.key in self.next_keys
            case _:
                return self.divergence is None

    def __str__(self) -> str:
        if self.divergence is not None:
            return self.divergence
        if isinstance(self.end, Complete):
            return f"next would be the end, with the output {self.end.output!r}"
        if isinstance(self.end, Fail):
            return f"next would be a failure: {self.end.message}"
        if self.end is not None:
            return f"next would be {self.end.action}"
        return f"next would be {', '.join(map(repr, self.next_keys))}"


async def replay_history(history: Sequence[Transition], runner: Rehearses) -> ReplayedCase:
    """Run `runner`'s code over an instance's records, up to where it would do something new; no step runs.

    Raises:
        ValueError: no history, or the runner does not have its workflow in that version.
    """
    instance = replay(history)
    asked_at = history[-1].at
    rehearsal = await runner.rehearse(_request(instance, asked_at))
    return ReplayedCase(instance=instance, next_keys=rehearsal.next_keys, end=rehearsal.end)


async def replay_case(file: str | PathLike[str], runner: Rehearses) -> ReplayedCase:
    """Like `replay_history`, with the history of an exported instance (`pylon-workflows export`, docs/export.md).

    Raises:
        InvalidInputError: the file holds no such document. ValueError: the runner does not have its workflow. OSError.
    """
    document = await asyncio.to_thread(Path(file).read_bytes)
    _, history = read_export(document)
    return await replay_history(history, runner)


def _request(instance: Instance, asked_at: datetime) -> bytes:
    deadline = asked_at + instance.terms.step_timeout
    hooks = HookKeys(HOOKS_IN_TESTS).member(instance.id)
    return request_body(instance, JoinedRecords().json(instance), began_at=asked_at, deadline=deadline, hooks=hooks)
