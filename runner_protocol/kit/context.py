"""The authors' API inside a workflow: `ctx.step`, `ctx.sleep`, `ctx.wait_for_event` and the rest.

A helper fixes its key when it is *called* and gives something to await: a coroutine in all that asyncio asks of one,
so `gather`, `create_task` and `TaskGroup` take it. Awaiting it parks until the turn has a record for it; in a turn in
which it must wait it is never settled, so that no `except` of the author's can take a pause for an error. When the turn
is over the code is cancelled: `finally` blocks, and an `except` for CancelledError, do run at each pause.
"""

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NoReturn, TypeVar, TypeVarTuple, Unpack, overload

from pydantic import BaseModel, ValidationError

from runner_protocol.fields import duration_text, parse_timestamp
from runner_protocol.hook_urls import hook_event
from runner_protocol.kit.approval import Approval
from runner_protocol.kit.errors import read_delay
from runner_protocol.kit.groups import MemberBody, read_map, read_parallel
from runner_protocol.kit.json_values import json_copy
from runner_protocol.kit.options import Delay, StepOptions, read_options
from runner_protocol.kit.replay import check_name
from runner_protocol.kit.work import Work
from runner_protocol.messages import Approval as ApprovalGate
from runner_protocol.messages import ContinueAsNew, Sleep, StartChild, WaitEvent

T = TypeVar("T")
Item = TypeVar("Item")
Ts = TypeVarTuple("Ts")
MessageT = TypeVar("MessageT", bound=BaseModel)


class Context(Work):
    """What a workflow's function is given: its helpers, and the facts of the instance.

    The function is run again from its beginning in every turn, with finished steps answered from memory. So it must ask
    for the same steps each time: what it decides by comes from its input, from steps and events, and from `now`,
    `random` and `uuid`; what it does to the world it does in steps. `finally` blocks run at each pause. Concurrent
    branches (`gather`, `TaskGroup`) await nothing but helpers between two helpers. A timeout of asyncio's around a
    helper bounds nothing: what the step returns is recorded all the same; to race an event use `timeout=`.

    Every helper raises TypeError or ValueError at the call for a name or an option that is none, OutputError for a
    value that is no JSON, and RuntimeError when a step's function calls it: steps do not nest.
    """

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

    def wait_for_hook(
        self,
        name: str,
        *,
        timeout: Delay | None = None,
        on_timeout: Literal["return", "fail"] = "return",
        match: Mapping[str, Any] | None = None,
    ) -> Coroutine[Any, Any, Any]:
        """Wait until the URL of that name is called (`hook_url`), and give what was sent: the event `hook:<name>`.

        An empty body is `{}`. The options are those of `wait_for_event`.
        """
        event = hook_event(check_name("hook", name))
        return self.wait_for_event(event, timeout=timeout, on_timeout=on_timeout, match=match)

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

    @overload
    def map(
        self,
        name: str,
        items: Iterable[Item],
        fn: Callable[[Item], Awaitable[T]],
        *,
        fail_fast: bool = True,
        max_in_flight: int = 10,
        **options: Unpack[StepOptions],
    ) -> Coroutine[Any, Any, list[T]]: ...

    @overload
    def map(
        self,
        name: str,
        items: Iterable[Item],
        fn: Callable[[Item], T],
        *,
        fail_fast: bool = True,
        max_in_flight: int = 10,
        **options: Unpack[StepOptions],
    ) -> Coroutine[Any, Any, list[T]]: ...

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


def _maybe(name: str | None) -> str | None:
    return None if name is None else check_name("sleep", name)


def _made(what: str, message: type[MessageT], fields: Mapping[str, Any]) -> MessageT:
    try:
        return message(**fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{what}: {place}: {first['msg'].removeprefix('Value error, ')}") from None
