"""The authors' API inside a workflow: `ctx.step`, `ctx.sleep`, `ctx.wait_for_event` and the rest.

A helper fixes its key when it is *called* and gives something to await: a coroutine in all that asyncio asks of one,
so `gather`, `create_task` and `TaskGroup` take it. Awaiting it parks until the turn has a record for it; in a turn in
which it must wait it is never settled, so that no `except` of the author's can take a pause for an error. When the turn
is over the code is cancelled: `finally` blocks, and an `except` for CancelledError, do run at each pause.
"""

import inspect
import os
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NoReturn, TypeVar, TypeVarTuple, Unpack, overload

from pydantic import BaseModel, ValidationError

from runner_protocol.fields import duration_text, parse_timestamp
from runner_protocol.kit.approval import Approval
from runner_protocol.kit.call import Deed, HelperCall
from runner_protocol.kit.errors import read_delay
from runner_protocol.kit.facts import Facts
from runner_protocol.kit.groups import MemberBody, read_map, read_parallel
from runner_protocol.kit.http import HttpRequest, HttpResult
from runner_protocol.kit.json_values import json_copy
from runner_protocol.kit.operation import Operation, operation_body
from runner_protocol.kit.options import Delay, StepOptions, read_options
from runner_protocol.kit.replay import CallKind, check_name
from runner_protocol.kit.shell import ShellCommand, ShellResult
from runner_protocol.kit.step import StepBody, running_step
from runner_protocol.messages import Approval as ApprovalGate
from runner_protocol.messages import ContinueAsNew, Sleep, StartChild, StepSkip, WaitEvent

T = TypeVar("T")
Item = TypeVar("Item")
Ts = TypeVarTuple("Ts")
MessageT = TypeVar("MessageT", bound=BaseModel)


class Context(Facts):
    """What a workflow's function is given: its helpers, and the facts of the instance.

    The function is run again from its beginning in every turn, with finished steps answered from memory. So it must ask
    for the same steps each time: what it decides by comes from its input, from steps and events, and from `now`,
    `random` and `uuid`; what it does to the world it does in steps. `finally` blocks run at each pause. Concurrent
    branches (`gather`, `TaskGroup`) await nothing but helpers between two helpers. A timeout of asyncio's around a
    helper bounds nothing: what the step returns is recorded all the same; to race an event use `timeout=`.

    Every helper raises TypeError or ValueError at the call for a name or an option that is none, OutputError for a
    value that is no JSON, and RuntimeError when a step's function calls it: steps do not nest.
    """

    @overload
    def step(
        self, name: str, fn: Callable[[*Ts], Awaitable[T]], *args: *Ts, **options: Unpack[StepOptions]
    ) -> Coroutine[Any, Any, T]: ...

    @overload
    def step(
        self, name: str, fn: Callable[[*Ts], T], *args: *Ts, **options: Unpack[StepOptions]
    ) -> Coroutine[Any, Any, T]: ...

    def step(
        self, name: str, fn: Callable[[*Ts], Any], *args: *Ts, **options: Unpack[StepOptions]
    ) -> Coroutine[Any, Any, Any]:
        """Run `fn(*args)` once and remember what it returns (JSON); in later turns the remembered output is given.

        An `async def` is awaited, any other function runs in a thread. A step runs at least once: see `current_step()`
        for its idempotency key. Options (see StepOptions) belong to the step and never reach `fn`.

        Raises:
            StepFailedError: when awaited, after the last attempt has failed.
        """
        policy = read_options(f"step {name!r}", options)
        if not callable(fn):
            if inspect.iscoroutine(fn):
                fn.close()
            raise TypeError(f"step {name!r} takes the function and then its arguments, not {type(fn).__name__}")
        return self._call("step", name, StepBody(function=fn, arguments=args, policy=policy))

    def operation(self, name: str, operation: Operation[T], **options: Unpack[StepOptions]) -> Coroutine[Any, Any, T]:
        """Run `operation.execute()` as a step; its `kind` and its `input` are recorded. Raises like `step`."""
        what = f"operation {name!r}"
        return self._call("step", name, operation_body(what, operation, read_options(what, options)))

    def shell(
        self,
        name: str,
        command: Sequence[str],
        *,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        input: str | None = None,
        ok: Collection[int] = (0,),
        **options: Unpack[StepOptions],
    ) -> Coroutine[Any, Any, ShellResult]:
        """Run a command as a step, never through a shell; gives what it wrote (1 MiB at most each) and its exit code.

        An exit code that is not in `ok` fails the step, with the end of what it wrote to stderr. `env` is added to the
        environment of the runner and is not recorded; the words of the command, `cwd` and `input` (its stdin) are, so
        they hold no secrets. A command that is given up is killed with all processes of its group. Raises like `step`.
        """
        return self.operation(name, ShellCommand(command, cwd=cwd, env=env, input=input, ok=ok), **options)

    def http(
        self,
        name: str,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        body: str | bytes | None = None,
        ok: Collection[int] = range(200, 300),
        **options: Unpack[StepOptions],
    ) -> Coroutine[Any, Any, HttpResult]:
        """Make an HTTP request as a step; gives `{"status", "headers", "body"}`, the body parsed when it is JSON.

        A status that is not in `ok` fails the step; one below 500 for good, but for 408, 425 and 429; `Retry-After` is
        obeyed. Redirects are not followed. Unless the method is safe the step's idempotency key goes along as
        `Idempotency-Key`. Headers are not recorded; method, URL, `json` and `body` are, so they hold no secrets. Raises
        like `step`.
        """
        return self.operation(name, HttpRequest(method, url, headers=headers, json=json, body=body, ok=ok), **options)

    def skip(self, name: str, reason: str) -> Coroutine[Any, Any, None]:
        """Record that a step is left out, and why; in the history it is `skipped`, which is not completed."""
        if not isinstance(reason, str):
            raise TypeError(f"the reason of skip {name!r} is a text, not {type(reason).__name__}")
        return self._call("skip", name, StepSkip(reason=reason), lambda _: None)

    def sleep(self, duration: Delay, *, name: str | None = None) -> Coroutine[Any, Any, None]:
        """Pause for `"24h"`, a number of seconds or a timedelta; no process needs to stay up for it."""
        read_delay(duration)  # whatever else it may be is refused here
        return self._call("sleep", name, Sleep(duration=duration_text(duration), name=_maybe(name)), lambda _: None)

    def sleep_until(self, time: datetime | str, *, name: str | None = None) -> Coroutine[Any, Any, None]:
        """Pause until a time: a datetime with a time zone, or a text such as `"2026-12-01T09:00:00Z"`."""
        if isinstance(time, datetime) and time.tzinfo is None:
            raise ValueError(
                "sleep_until takes a datetime with a time zone: datetime.now() has none, datetime.now(UTC) has"
            )
        until = parse_timestamp(time).astimezone(UTC)
        until += timedelta(microseconds=-until.microsecond % 1000)  # the wire has milliseconds: never early
        return self._call("sleep", name, Sleep(until=until, name=_maybe(name)), lambda _: None)

    def wait_for_event(
        self,
        event: str,
        *,
        timeout: Delay | None = None,
        on_timeout: Literal["return", "fail"] = "return",
        match: Mapping[str, Any] | None = None,
        correlation: str | None = None,
    ) -> Coroutine[Any, Any, Any]:
        """Wait until the instance is sent the event, and give the event's data; None once `timeout` has passed.

        An event sent without data has the data `{}`, so `if data is None` tells a timeout; where events may carry null
        use `on_timeout="fail"`, which raises TimedOutError. `match` takes only an event whose data has these values, by
        dotted paths: `{"order.id": 7}`. `correlation` is a second address: who sends the event need not know the id.
        """
        fields = {
            "event": check_name("event", event),
            "timeout": None if timeout is None else read_delay(timeout),
            "on_timeout": on_timeout,
            "match": None if match is None else json_copy(dict(match), f"the match of event {event!r}"),
            "correlation": correlation,
        }
        return self._call("event", event, _made(f"event {event!r}", WaitEvent, fields))

    def approval(
        self,
        name: str,
        *,
        message: str = "",
        data: Any = None,
        timeout: Delay | None = None,
        on_timeout: Literal["reject", "fail"] = "reject",
    ) -> Coroutine[Any, Any, Approval]:
        """Wait until somebody decides, and give the decision; a rejection is a value, not a failure.

        `message` and `data` are shown to who decides. After `timeout` the decision is a rejection that `timed_out`, or
        with `on_timeout="fail"` a TimedOutError.
        """
        fields = {
            "name": check_name("approval", name),
            "message": message,
            "data": json_copy(data, f"the data of approval {name!r}"),
            "timeout": None if timeout is None else read_delay(timeout),
            "on_timeout": on_timeout,
        }
        gate = _made(f"approval {name!r}", ApprovalGate, fields)
        return self._call("approval", name, gate, Approval.from_output)

    def parallel(
        self,
        name: str,
        members: Mapping[str, MemberBody],
        *,
        fail_fast: bool = True,
        max_in_flight: int = 10,
        **options: Unpack[StepOptions],
    ) -> Coroutine[Any, Any, dict[str, Any]]:
        """Run named members, each in a call of its own, wherever a runner is free; gives their outputs by name.

        A member is a function without arguments, a `(function, input)`, or an operation; options are each member's.
        With `fail_fast` the first final failure ends the group. `gather` over plain steps is lighter: it stays in one
        turn.

        Raises:
            StepFailedError: when awaited, once a member has failed for good; it names all that have.
        """
        policy = read_options(f"parallel {name!r}", options)
        group = read_parallel(name, members, policy, fail_fast, max_in_flight)
        return self._call("parallel", name, group)

    def map(
        self,
        name: str,
        items: Iterable[Item],
        fn: Callable[[Item], Any],
        *,
        fail_fast: bool = True,
        max_in_flight: int = 10,
        **options: Unpack[StepOptions],
    ) -> Coroutine[Any, Any, list[Any]]:
        """Run `fn(item)` for each item (JSON), each in a call of its own; gives the outputs in the items' order.

        Options are each member's; else like `parallel`.
        """
        policy = read_options(f"map {name!r}", options)
        is_asked = not self._calls.is_recorded("map", name)
        return self._call("map", name, read_map(name, items, fn, policy, fail_fast, max_in_flight, is_asked=is_asked))

    def child(
        self,
        workflow: str | Any,
        input: Any = None,
        *,
        name: str | None = None,
        id: str | None = None,
        wait: bool = True,
        on_parent_close: Literal["cancel", "abandon"] = "cancel",
    ) -> Coroutine[Any, Any, Any]:
        """Start another workflow (by name, or the workflow itself) and give its output.

        The record's key is `child:<name>`, the workflow's name unless given. Without `id` the engine chooses one that a
        repeated start finds again. With `wait=False` it gives `{"workflow_id": ...}` at once. `on_parent_close` is what
        becomes of a child that is still open when this instance ends.

        Raises:
            StepFailedError: when awaited, after the child has failed or was cancelled.
        """
        started = workflow if isinstance(workflow, str) else getattr(workflow, "name", None)
        if not isinstance(started, str):
            raise TypeError(f"a child is a workflow or the name of one, not {type(workflow).__name__}")
        shown = check_name("child", started if name is None else name)
        fields = {
            "name": shown,
            "workflow": started,
            "input": json_copy(input, f"the input of child {shown!r}"),
            "id": id,
            "wait": wait,
            "on_parent_close": on_parent_close,
        }
        return self._call("child", shown, _made(f"child {shown!r}", StartChild, fields))

    def continue_as_new(self, input: Any = None) -> Coroutine[Any, Any, NoReturn]:
        """End this run and begin the next with this input: the same instance, no records.

        Steps that run are awaited before; whatever else is still asked for is dropped. Variables and unread events
        stay.
        """
        new = ContinueAsNew(input=json_copy(input, "the input of the next run"))
        return self._call("continue_as_new", None, new)

    def _call(
        self, kind: CallKind, name: str | None, deed: Deed, read: Callable[[Any], Any] | None = None
    ) -> HelperCall:
        if running_step.get() is not None:
            raise RuntimeError(
                f"a step's function calls no helper of its workflow ({kind} {name!r}): steps do not nest"
            )
        call = HelperCall(kind, name, self._calls.take_key(kind, name), deed, self._calls, read)
        self._calls.called(call)
        return call


def _maybe(name: str | None) -> str | None:
    return None if name is None else check_name("sleep", name)


def _made(what: str, message: type[MessageT], fields: Mapping[str, Any]) -> MessageT:
    try:
        return message(**fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{what}: {place}: {first['msg'].removeprefix('Value error, ')}") from None
