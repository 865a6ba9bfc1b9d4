"""Makes answers: what was returned or raised, as the action that says so; and the bytes that go out."""

import traceback
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any

from runner_protocol.kit.errors import OutputError, RetryAfter, is_final
from runner_protocol.messages import (
    MAX_ANSWER_BYTES,
    Action,
    Complete,
    ErrorDetail,
    Fail,
    StepComplete,
    encode_message,
)
from runner_protocol.strict_json import JsonError, encode

_MAX_MESSAGE, _MAX_STACK = 10_000, 30_000


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRun:
    """One attempt of a step: whose it is and when it began."""

    name: str
    key: str
    max_retries: int | None
    started_at: datetime
    started: float

    @classmethod
    def begin(cls, name: str, key: str, max_retries: int | None) -> "StepRun":
        """The attempt begins now."""
        return cls(name=name, key=key, max_retries=max_retries, started_at=datetime.now(UTC), started=perf_counter())

    def complete(self, output: Any) -> StepComplete | Fail:
        """The body has returned; an output that JSON would change fails the step, and for good."""
        try:
            _check(output, f"the output of step {self.name!r}")
        except OutputError as error:
            return self.fail(error)
        return StepComplete(step_name=self.name, key=self.key, output=output, **self._times())

    def fail(self, error: BaseException) -> Fail:
        """The body has raised; the final failure is to be thrown into the workflow's code."""
        return Fail(
            step_name=self.name,
            key=self.key,
            error=_describe(error),
            retryable=not is_final(error),
            retry_after=error.delay if isinstance(error, RetryAfter) else None,
            max_retries=self.max_retries,
            on_exhausted="throw",
            **self._times(),
        )

    def _times(self) -> dict[str, Any]:
        """By the clock that cannot jump, so that a step never ends before it began."""
        took = timedelta(seconds=perf_counter() - self.started)
        return {
            "started_at": self.started_at,
            "completed_at": self.started_at + took,
            "duration_ms": round(took / timedelta(milliseconds=1), 3),
        }


def complete_workflow(output: Any) -> Complete | Fail:
    """The workflow's function has returned."""
    try:
        _check(output, "what the workflow returned")
    except OutputError as error:
        return fail_workflow(error)
    return Complete(output=output)


def fail_workflow(error: BaseException) -> Fail:
    """The workflow's function has raised: tried again, unless the error is final."""
    return Fail(
        error=_describe(error),
        retryable=not is_final(error),
        retry_after=error.delay if isinstance(error, RetryAfter) else None,
    )


def encode_answer(action: Action) -> bytes:
    """Write the answer; one that is larger than the engine takes becomes a failure that says so."""
    body = encode_message(action)
    if len(body) <= MAX_ANSWER_BYTES:
        return body
    error = OutputError(f"the output takes {len(body):,} bytes; an answer has at most {MAX_ANSWER_BYTES:,}")
    failure = fail_workflow(error)
    if isinstance(action, StepComplete):
        failure = failure.model_copy(update={"step_name": action.step_name, "key": action.key, "on_exhausted": "throw"})
    return encode_message(failure)


def _check(output: Any, what: str) -> None:
    try:
        encode(output)
    except (JsonError, RecursionError) as error:
        raise OutputError(f"{what} is not lossless JSON: {error}") from None


def _describe(error: BaseException) -> ErrorDetail:
    return ErrorDetail(
        type=type(error).__qualname__,
        message=_clean(_text(error))[:_MAX_MESSAGE],
        stack=_clean(_stack(error))[-_MAX_STACK:],
    )


def _text(error: BaseException) -> str:
    try:
        return str(error) or type(error).__name__
    except Exception:
        return f"{type(error).__name__}, whose text cannot be shown"


def _stack(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except Exception:
        return ""


def _clean(text: str) -> str:
    """Replace what UTF-8 cannot hold: an exception may quote any bytes."""
    return text.encode(errors="backslashreplace").decode()
