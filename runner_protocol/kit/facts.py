"""What a workflow knows of its instance, and what it puts down beside its records."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from random import Random
from typing import Any, Literal
from uuid import UUID

from pydantic import ValidationError

from runner_protocol.clock import now
from runner_protocol.hook_urls import hook_url
from runner_protocol.kit.call import Calls
from runner_protocol.kit.errors import NoHooksError
from runner_protocol.kit.notes import Note, UnsetVars, Vars, check_variable, set_vars
from runner_protocol.kit.replay import check_name
from runner_protocol.kit.step import current_step, step_scope
from runner_protocol.kit.usage import read_usage
from runner_protocol.messages import HistorySize, LogLine, ParentLink, Progress, TurnRequest

_MAX_LOG_MESSAGE = 2_000
Level = Literal["debug", "info", "warning", "error"]


class Facts:
    """The part of a context that asks nothing of the engine.

    All of it is as it was at the last record handed out, so that each replay sees what the first pass saw. Notes
    (`set`, `unset`, `usage`, `progress`, `log`) are applied once each, together with the next action; those that a
    step's function makes with what the step comes to, be it a failure.
    """

    def __init__(self, request: TurnRequest, calls: Calls) -> None:
        self._request = request
        self._calls = calls
        self.log = Log(self._note)
        """Lines for people, in the instance's history: `ctx.log.info("charged %s", amount)`."""

    @property
    def workflow_id(self) -> str:
        """The instance's id."""
        return self._request.workflow_id

    @property
    def workflow_name(self) -> str:
        """The name that the workflow was started under."""
        return self._request.workflow_name

    @property
    def workflow_version(self) -> str | None:
        """The version that this run started with."""
        return self._request.workflow_version

    @property
    def run(self) -> int:
        """The number of this run, from 1."""
        return self._request.run

    @property
    def parent(self) -> ParentLink | None:
        """Who started this instance: `workflow_id`, and the `key` of its record; None for one that nobody did."""
        return self._request.parent

    @property
    def history(self) -> HistorySize:
        """How long this run has become: `steps` handed out, `bytes` of their outputs. A reason to `continue_as_new`."""
        return self._calls.history

    @property
    def idempotency_key(self) -> str:
        """That of the step whose function calls it, the same in all of its attempts. RuntimeError elsewhere."""
        return current_step().idempotency_key

    def hook_url(self, name: str) -> str:
        """A URL that nobody can guess, the same in every replay of this run; a POST to it is the event `hook:<name>`.

        Hand it out, in a step too, before the workflow comes to `wait_for_hook(name)`: a call that comes early is kept.
        While the engine does not know under which URL it is reached (its `hooks_url`) the turn is put off, whatever the
        code makes of the exception, and the instance goes on once it does.

        Raises:
            NoHooksError: the turn is put off.
            TypeError, ValueError: the name is none.
        """
        check_name("hook", name)
        hooks, request = self._request.hooks, self._request
        if hooks is None:
            error = NoHooksError(f"hook_url({name!r})")
            if step_scope.get() is None:
                self._calls.put_off(error)
            raise error
        return hook_url(hooks.base_url, hooks.key, request.workflow_id, request.run, name)

    def now(self) -> datetime:
        """The time, in UTC, at the last record handed out: the same in every replay, unlike the clock's."""
        return self._calls.now

    def random(self) -> float:
        """A number from 0 up to 1, the same in every replay."""
        return self._draw().random()

    def uuid(self) -> UUID:
        """A random UUID, the same in every replay."""
        return UUID(int=self._draw().getrandbits(128), version=4)

    @property
    def vars(self) -> Vars:
        """The durable variables, to be read; people see them, and the next run begins with them."""
        return self._calls.vars

    def set(self, values: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Set durable variables (JSON): `ctx.set(cursor=7)`, or by a mapping. All together have at most 256 KiB.

        Raises:
            RuntimeError: a step's function called it: return the value, and set it in the workflow.
            TypeError, ValueError: a name is none.
            OutputError: a value is no JSON, or they become too large.
        """
        self._refuse_in_step("set")
        if values is not None and not isinstance(values, Mapping):
            raise TypeError(f"ctx.set takes variables by name, not {type(values).__name__}")
        self._calls.note(set_vars({**(values or {}), **more}))

    def unset(self, *names: str) -> None:
        """Remove durable variables; one that is not there is no error. Raises like `set`."""
        self._refuse_in_step("unset")
        self._calls.note(UnsetVars(tuple(check_variable(name) for name in names)))

    def usage(self, *, cost_usd: Decimal | str | float = "0", input_tokens: int = 0, output_tokens: int = 0) -> None:
        """Add to what the instance has cost; sums are exact. A float counts digit for digit as Python prints it.

        Raises:
            TypeError, ValueError: an amount is none.
        """
        self._note(read_usage(cost_usd, input_tokens, output_tokens))

    def progress(self, percent: float | None = None, message: str | None = None) -> None:
        """Say how far the instance has come, for people: 0 to 100, and a text. Raises ValueError for another number."""
        try:
            self._note(Progress(percent=None if percent is None else float(percent), message=message))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise ValueError(f"progress: {first['loc'][0]}: {first['msg']}") from None

    def _note(self, note: Note) -> None:
        scope = step_scope.get()
        if scope is None:
            self._calls.note(note)
        else:
            scope.notes.add(note)

    def _draw(self) -> Random:
        scope = step_scope.get()
        return self._calls.draw() if scope is None else scope.random

    def _refuse_in_step(self, what: str) -> None:
        scope = step_scope.get()
        if scope is not None:
            raise RuntimeError(
                f"ctx.{what} in step {scope.info.name!r}: return the value, and {what} it in the workflow's function"
            )


class Log:
    """Writes lines for people into the instance's history; at most 100 go with an action, of 2,000 characters each.

    `message` is formatted with `args` like that of `logging`.
    """

    def __init__(self, note: Any) -> None:
        self._note = note

    def debug(self, message: object, *args: object) -> None:
        """For who looks for a fault."""
        self._add("debug", message, args)

    def info(self, message: object, *args: object) -> None:
        """What happened."""
        self._add("info", message, args)

    def warning(self, message: object, *args: object) -> None:
        """Something is not as it should be."""
        self._add("warning", message, args)

    def error(self, message: object, *args: object) -> None:
        """Something has failed."""
        self._add("error", message, args)

    def _add(self, level: Level, message: object, args: tuple[object, ...]) -> None:
        text = str(message) % args if args else str(message)
        clean = text.encode(errors="backslashreplace").decode()[:_MAX_LOG_MESSAGE]
        self._note(LogLine(at=now(), level=level, message=clean))
