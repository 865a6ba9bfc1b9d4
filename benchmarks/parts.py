"""Where the engine's time goes: CPU time by part, taken by wrapping the engine's callables from outside.

CPU time and not time, because a busy machine stretches the one and hardly the other. A part does not count what it
calls of another part. Each measured call costs about a microsecond of its own.
"""

import contextlib
import time
import types
from collections import Counter
from collections.abc import Callable, Coroutine, Generator, Iterator
from functools import wraps
from typing import Any
from unittest.mock import patch

from pylon_workflows import decision, open_turn, starts, turn_request, turns
from pylon_workflows.runner import http
from pylon_workflows.store import group_commit
from pylon_workflows.store.sqlite import SqliteStore

DECIDE, STORE, WRITER, DISPATCH = "decide", "store", "store's thread", "dispatch"
JOIN, SEND, READ, START = "joining the records", "sending", "reading the answer", "starting"

Function = Callable[..., Any]


class Parts:
    """Nanoseconds by part, in `spent`."""

    def __init__(self) -> None:
        self.spent: Counter[str] = Counter()
        self._inside: list[str] = []
        self._since = 0

    @contextlib.contextmanager
    def measured(self) -> Iterator[None]:
        """Wrap what belongs to each part, for as long as the block runs."""
        with contextlib.ExitStack() as stack:
            for part, owner, name, wrap in (
                (DECIDE, decision, "decide", self._function),
                (DECIDE, decision, "evolve", self._function),
                (STORE, SqliteStore, "append", self._function),
                (WRITER, group_commit.GroupCommit, "_commit", self._other_thread),
                (JOIN, turn_request.JoinedRecords, "json", self._function),
                (JOIN, turns, "request_body", self._function),
                (SEND, http.HttpRunner, "take_turn", self._coroutine),
                (READ, http, "read_answer", self._function),
                (START, starts.Starts, "new_instance", self._function),
                (START, SqliteStore, "create", self._coroutine),
                (DISPATCH, turns.Turns, "drive", self._coroutine),
                (DISPATCH, open_turn.OpenTurn, "apply", self._coroutine),
            ):
                stack.enter_context(patch.object(owner, name, wrap(part, getattr(owner, name))))
            yield

    def _enter(self, part: str) -> None:
        now = time.thread_time_ns()
        if self._inside:
            self.spent[self._inside[-1]] += now - self._since
        self._inside.append(part)
        self._since = now

    def _leave(self) -> None:
        now = time.thread_time_ns()
        self.spent[self._inside.pop()] += now - self._since
        self._since = now

    def _function(self, part: str, function: Function) -> Function:
        @wraps(function)
        def measured(*positional: Any, **named: Any) -> Any:
            self._enter(part)
            try:
                return function(*positional, **named)
            finally:
                self._leave()

        return measured

    def _other_thread(self, part: str, function: Function) -> Function:
        @wraps(function)
        def measured(*positional: Any, **named: Any) -> Any:
            began = time.thread_time_ns()
            try:
                return function(*positional, **named)
            finally:
                self.spent[part] += time.thread_time_ns() - began

        return measured

    def _coroutine(self, part: str, function: Function) -> Function:
        @wraps(function)
        async def measured(*positional: Any, **named: Any) -> Any:
            return await self._stepped(part, function(*positional, **named))

        return measured

    @types.coroutine
    def _stepped(self, part: str, coroutine: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """Run a coroutine, measuring each stretch between two waits."""
        resume: Callable[[], Any] = lambda: coroutine.send(None)  # noqa: E731
        while True:
            self._enter(part)
            try:
                awaited = resume()
            except StopIteration as stop:
                return stop.value
            finally:
                self._leave()
            try:
                sent = yield awaited
                resume = _bound(coroutine.send, sent)
            except BaseException as error:  # whatever it is belongs to the coroutine
                resume = _bound(coroutine.throw, error)


def _bound(function: Function, argument: Any) -> Callable[[], Any]:
    return lambda: function(argument)
