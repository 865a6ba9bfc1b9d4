"""The helpers whose work is done in the turn itself: steps, and what is recorded like one."""

import inspect
import os
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any, TypeVar, TypeVarTuple, Unpack, overload

from runner_protocol.kit.call import Deed, HelperCall
from runner_protocol.kit.facts import Facts
from runner_protocol.kit.http import HttpRequest, HttpResult
from runner_protocol.kit.operation import Operation, operation_body
from runner_protocol.kit.options import StepOptions, read_options
from runner_protocol.kit.replay import CallKind
from runner_protocol.kit.shell import ShellCommand, ShellResult
from runner_protocol.kit.step import StepBody, running_step
from runner_protocol.messages import StepSkip

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Work(Facts):
    """The part of a context that runs steps."""

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

        An `async def` is awaited, any other function runs in a thread, 256 of them at a time in a turn. A step runs
        at least once: see `current_step()` for its idempotency key. Options (see StepOptions) belong to the step and
        never reach `fn`.

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
