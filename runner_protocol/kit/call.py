"""What a helper gives back: in all that asyncio asks of one a coroutine; and what it needs of its turn."""

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Generator
from datetime import datetime
from random import Random
from types import TracebackType
from typing import Any, Protocol

from runner_protocol.kit.errors import NoHooksError, StepFailedError
from runner_protocol.kit.groups import Group
from runner_protocol.kit.notes import Note, Vars
from runner_protocol.kit.replay import Call, CallKind
from runner_protocol.kit.step import StepBody
from runner_protocol.messages import Approval as ApprovalGate
from runner_protocol.messages import ContinueAsNew, HistorySize, Sleep, StartChild, StepSkip, WaitEvent

Suspension = Sleep | WaitEvent | ApprovalGate | StartChild | ContinueAsNew
Deed = StepBody | StepSkip | Suspension | Group
"""What a call asks for: the first two are done in the turn itself, the others end it."""


class HelperCall(Call, Coroutine[Any, Any, Any]):
    """What a helper gives back; awaiting it gives the recorded output or raises StepFailedError."""

    def __init__(
        self,
        kind: CallKind,
        name: str | None,
        key: str,
        deed: Deed,
        calls: "Calls",
        read: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(kind, name, key)
        self.deed = deed
        self._read = read
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.context = contextvars.copy_context()
        self._calls = calls
        self._coroutine: Generator[Any, Any, Any] | None = None

    def answer(self, output: Any) -> None:
        """Give the code the recorded output."""
        if not self.future.done():  # else cancelled in this very pass of the loop: the code is about to drop it
            self.future.set_result(output if self._read is None else self._read(output))

    def fail(self, error: StepFailedError) -> None:
        """Throw the recorded failure into the code."""
        if not self.future.done():
            self.future.set_exception(error)
            self.future.exception()  # seen: a call that nobody awaits is no reason for asyncio to complain

    def __await__(self) -> Generator[Any, Any, Any]:
        self._calls.awaited(self)
        try:
            return (yield from self.future.__await__())
        except (asyncio.CancelledError, GeneratorExit):
            self._calls.dropped(self)
            raise

    def send(self, value: Any) -> Any:
        """As a coroutine's."""
        return self._started().send(value)

    def throw(
        self,
        typ: Any,
        val: BaseException | object = None,
        tb: TracebackType | None = None,
    ) -> Any:
        """As a coroutine's; a task that is cancelled before it began throws into one that was never awaited."""
        if self._coroutine is None:
            self._calls.dropped(self)
        return self._started().throw(typ, val, tb)

    def close(self) -> None:
        """As a coroutine's."""
        self._calls.dropped(self)
        if self._coroutine is not None:
            self._coroutine.close()

    def _started(self) -> Generator[Any, Any, Any]:
        if self._coroutine is None:
            self._coroutine = self.__await__()
        return self._coroutine


class Calls(Protocol):
    """What the helpers need of a turn."""

    @property
    def now(self) -> datetime:
        """The time at the last record handed out."""
        ...

    def draw(self) -> Random:
        """Random numbers that depend on the instance, the run and the last record handed out."""
        ...

    @property
    def vars(self) -> Vars:
        """The durable variables."""
        ...

    @property
    def history(self) -> HistorySize:
        """How long the run has become, up to the last record handed out."""
        ...

    def note(self, note: Note) -> None:
        """Put down a note of the workflow's function."""
        ...

    def put_off(self, why: NoHooksError) -> None:
        """Let the turn come to nothing, and the engine ask again."""
        ...

    def take_key(self, kind: CallKind, name: str | None) -> str:
        """Give the next free key, or refuse the name."""
        ...

    def is_recorded(self, kind: CallKind, name: str) -> bool:
        """Whether the engine knows already what the next such call asks for."""
        ...

    def called(self, call: HelperCall) -> None:
        """A helper was called."""
        ...

    def awaited(self, call: HelperCall) -> None:
        """The code awaits the call."""
        ...

    def dropped(self, call: HelperCall) -> None:
        """The code no longer waits for the call."""
        ...
