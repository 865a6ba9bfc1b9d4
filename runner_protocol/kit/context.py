"""The authors' API inside a workflow: `ctx.step`, `ctx.sleep`, `ctx.wait_for_event`, and what the instance knows.

A helper fixes its key when it is *called* and gives something to await: a coroutine in all that asyncio asks of one,
so `gather`, `create_task` and `TaskGroup` take it. Awaiting it parks until the turn has a record for it; in a turn in
which it must wait it is never settled, so that no `except` of the author's can take a pause for an error. When the turn
is over the code is cancelled: `finally` blocks, and an `except` for CancelledError, do run at each pause.
"""

import inspect
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any, TypeVar, TypeVarTuple, overload
from uuid import UUID

from runner_protocol.fields import duration_text
from runner_protocol.kit.call import Calls, Deed, HelperCall
from runner_protocol.kit.errors import read_delay
from runner_protocol.kit.replay import CallKind
from runner_protocol.kit.step import StepBody, running_step
from runner_protocol.messages import Sleep, TurnRequest, WaitEvent

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_MAX_RETRIES = 1_000_000


class Context:
    """What a workflow's function is given: its helpers, and the facts of the instance.

    The function is run again from its beginning in every turn, with finished steps answered from memory. So it must ask
    for the same steps each time: what it decides by comes from its input, from steps and events, and from `now`,
    `random` and `uuid`; what it does to the world it does in steps. `finally` blocks run at each pause. Concurrent
    branches (`gather`, `TaskGroup`) await nothing but helpers between two helpers. A timeout of asyncio's around a
    helper bounds nothing: what the step returns is recorded all the same; to race an event use `timeout=`.
    """

    def __init__(self, request: TurnRequest, calls: Calls) -> None:
        self._request = request
        self._calls = calls

    @property
    def workflow_id(self) -> str:
        """The instance's id."""
        return self._request.workflow_id

    @property
    def workflow_name(self) -> str:
        """The name that the workflow was started under."""
        return self._request.workflow_name

    @property
    def run(self) -> int:
        """The number of this run, from 1."""
        return self._request.run

    def now(self) -> datetime:
        """The time, in UTC, at the last record handed out: the same in every replay, unlike the clock's."""
        return self._calls.now

    def random(self) -> float:
        """A number from 0 up to 1, the same in every replay."""
        return self._calls.draw().random()

    def uuid(self) -> UUID:
        """A random UUID, the same in every replay."""
        return UUID(int=self._calls.draw().getrandbits(128), version=4)

    @overload
    def step(
        self,
        name: str,
        fn: Callable[[*Ts], Awaitable[T]],
        *args: *Ts,
        retries: int | None = None,
        timeout: str | float | timedelta | None = None,
    ) -> Coroutine[Any, Any, T]: ...

    @overload
    def step(
        self,
        name: str,
        fn: Callable[[*Ts], T],
        *args: *Ts,
        retries: int | None = None,
        timeout: str | float | timedelta | None = None,
    ) -> Coroutine[Any, Any, T]: ...

    def step(
        self,
        name: str,
        fn: Callable[[*Ts], Any],
        *args: *Ts,
        retries: int | None = None,
        timeout: str | float | timedelta | None = None,
        **unknown: Any,
    ) -> Coroutine[Any, Any, Any]:
        """Run `fn(*args)` once and remember what it returns (JSON); in later turns the remembered output is given.

        An `async def` is awaited, any other function runs in a thread. A step runs at least once: see `current_step()`
        for its idempotency key. `retries` replaces the definition's `max_retries` for this step. After `timeout` the
        attempt has failed with a TimeoutError; without streams it can only shorten the definition's `step_timeout`.
        Options belong to the step and never reach `fn`.

        Raises:
            StepFailedError: when awaited, after the last attempt has failed.
            TypeError, ValueError: at the call, for a name or an option that no step takes.
        """
        for option in unknown:
            raise TypeError(
                f"step {name!r} has no option {option!r}; give fn keyword arguments with a lambda or functools.partial"
            )
        if not callable(fn):
            if inspect.iscoroutine(fn):
                fn.close()
            raise TypeError(f"step {name!r} takes the function and then its arguments, not {type(fn).__name__}")
        if retries is not None and (type(retries) is not int or not 0 <= retries <= _MAX_RETRIES):
            raise ValueError(f"step {name!r}: retries is a whole number from 0 to {_MAX_RETRIES:,}, not {retries!r}")
        limit = None if timeout is None else read_delay(timeout)
        key = self._take_key("step", name)
        body = StepBody(function=fn, arguments=args, max_retries=retries, timeout=limit)
        return self._call("step", name, key, body)

    def sleep(self, duration: str | float | timedelta, *, name: str | None = None) -> Coroutine[Any, Any, None]:
        """Pause for `"24h"`, a number of seconds or a timedelta; no process needs to stay up for it."""
        read_delay(duration)  # whatever else it may be is refused here
        written = duration_text(duration)
        key = self._take_key("sleep", name)
        return self._call("sleep", name, key, Sleep(duration=written, name=name, key=key))

    def wait_for_event(self, event: str, *, timeout: str | float | timedelta | None = None) -> Coroutine[Any, Any, Any]:
        """Wait until the instance is sent the event, and give the event's data; None once `timeout` has passed."""
        limit = None if timeout is None else read_delay(timeout)
        key = self._take_key("event", event)
        return self._call("event", event, key, WaitEvent(event=event, timeout=limit, key=key))

    def _take_key(self, kind: CallKind, name: str | None) -> str:
        if running_step.get() is not None:
            raise RuntimeError(
                f"a step's function calls no helper of its workflow ({kind} {name!r}): steps do not nest"
            )
        return self._calls.take_key(kind, name)

    def _call(self, kind: CallKind, name: str | None, key: str, deed: Deed) -> HelperCall:
        call = HelperCall(kind, name, key, deed, self._calls)
        self._calls.called(call)
        return call
