"""The exceptions that authors of workflows meet.

    Exception
      StepFailedError     thrown into workflow code: a step has used up its tries. The step's fault; may be caught
        TimedOutError     thrown into workflow code: an event or a decision did not come in time. Nobody's fault
      NonRetryableError   raised by a step (or by workflow code): trying again would not help
        OutputError       raised by the kit for a value that JSON would lose or change. The author's fault
      RetryAfter          raised by a step (or by workflow code): try again, but not before this long
        NoHooksError      raised by the kit: the engine gives out no hook URLs yet. The operator's fault

Whatever else a step raises is a failed attempt, tried again while the step's budget lasts.
"""

from datetime import timedelta

from runner_protocol.durations import MAX_DURATION, DurationError, parse_duration


class StepFailedError(Exception):
    """A step has failed for good; it is recorded and will not be tried again. So have a child, and a group.

    `step_name`, `key`, `message` (of the last failure) and `attempts` (how often it was tried) say which and why;
    `kind` is `step`, or `child`, `parallel` or `map`.
    """

    def __init__(
        self, step_name: str, message: str, attempts: int, *, key: str | None = None, kind: str = "step"
    ) -> None:
        super().__init__(step_name, message, attempts)
        self.step_name = step_name
        self.key = step_name if key is None else key
        self.message = message
        self.attempts = attempts
        self.kind = kind

    def __str__(self) -> str:
        return f"step {self.step_name!r} failed: {self.message}" if self.kind == "step" else self.message


class TimedOutError(StepFailedError):
    """A wait with `on_timeout="fail"` is over: the event, or the decision, did not come in time.

    `kind` is `event` or `approval`, `step_name` what was waited for.
    """


class NonRetryableError(Exception):
    """The attempt has failed and the step is not to be tried again."""


class OutputError(NonRetryableError):
    """What a step or a workflow returned, or gave to a helper, cannot be recorded; the message names the place."""


class RetryAfter(Exception):  # noqa: N818 - named after the header that says the same
    """The attempt has failed; the next is not to begin before `delay` has passed (`"30s"`, seconds, a timedelta)."""

    def __init__(self, delay: str | float | timedelta, message: str = "asked to be tried again later") -> None:
        super().__init__(message)
        self.delay = read_delay(delay)


class NoHooksError(RetryAfter):
    """The engine does not say where it is called from outside. It puts off the turn, and is no failure."""

    def __init__(self, call: str) -> None:
        super().__init__(
            "10s",
            f"{call}: the engine does not say where it is called from outside: start it with serve --hooks-url, "
            "PYLON_WORKFLOW_HOOKS_URL or EngineSettings(hooks_url=)",
        )


def read_delay(value: str | float | timedelta) -> timedelta:
    """Read a duration as authors write it. Raises DurationError."""
    if not isinstance(value, timedelta):
        return parse_duration(value)
    if not timedelta(0) <= value <= MAX_DURATION:
        raise DurationError(f"a duration must be between zero and 100 years, not {value}")
    return value


def is_final(error: BaseException) -> bool:
    """Whether trying again cannot help: a final failure nobody has caught, also in the group of a TaskGroup."""
    if isinstance(error, BaseExceptionGroup):
        return all(is_final(member) for member in error.exceptions)
    return isinstance(error, (StepFailedError, NonRetryableError))
