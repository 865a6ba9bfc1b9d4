"""Makes answers: what was returned or raised, as the action that says so; and the bytes that go out."""

import sys
import traceback
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import perf_counter
from typing import Any

from runner_protocol.clock import now
from runner_protocol.kit.code import Raised, Returned
from runner_protocol.kit.errors import NoHooksError, OutputError, RetryAfter, is_final
from runner_protocol.kit.json_values import checked_json
from runner_protocol.kit.step import StepBody, StepInfo
from runner_protocol.messages import (
    MAX_ANSWER_BYTES,
    Action,
    Complete,
    Defer,
    ErrorDetail,
    Fail,
    StepComplete,
    encode_message,
)
from runner_protocol.strict_json import encode, parse

_MAX_MESSAGE, _MAX_STACK, _MAX_DATA = 10_000, 30_000, 65_536
_MAX_SHOWN = 200
_CARRIED = ("vars", "unset", "usage", "progress", "logs", "noted")
"""What any action may carry beside."""

_RAISED_WITH_A_SENTENCE = (Exception, RuntimeError, ValueError)
"""Python's own classes, and OSError's kinds, whose text is for people; that of the others tells little without them."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An action to be sent; of a completed step with the output as JSON, so that it is written only once."""

    action: Action
    output_json: bytes | None = None

    @property
    def output(self) -> Any:
        """What a replay will find: the output as it comes back from JSON, shared with nobody."""
        return None if self.output_json is None else parse(self.output_json)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepAttempt:
    """One attempt of a step: whose it is and when it began."""

    info: StepInfo
    body: StepBody
    after: int | None
    started_at: datetime
    started: float

    @classmethod
    def begin(cls, info: StepInfo, body: StepBody, *, after: int | None) -> "StepAttempt":
        """The attempt begins now."""
        return cls(info=info, body=body, after=after, started_at=now(), started=perf_counter())

    def complete(self, output: Any) -> Answer:
        """The body has returned; an output that JSON would change fails the step, and for good."""
        try:
            output_json = checked_json(output, f"the output of step {self.info.name!r}")
        except OutputError as error:
            return self.fail(error)
        action = StepComplete(
            step_name=self.info.name,
            key=self.info.key,
            after=self.after,
            kind=self.body.kind,
            input=self.body.input,
            **self._times(),
        )
        return Answer(action, output_json)

    def fail(self, error: BaseException) -> Answer:
        """The body has raised; the final failure is to be thrown into the workflow's code."""
        if isinstance(error, NoHooksError):
            return Answer(put_off(error))
        policy = self.body.policy
        return Answer(
            Fail(
                step_name=self.info.name,
                key=self.info.key,
                after=self.after,
                error=_describe(error),
                kind=self.body.kind,
                input=self.body.input,
                retryable=policy.is_worth_retrying(error),
                retry_after=policy.delay(error, self.info.number),
                max_retries=policy.max_retries,
                on_exhausted="throw",
                **self._times(),
            )
        )

    def time_out(self) -> Answer:
        """The body has taken too long."""
        timeout = self.body.policy.timeout
        seconds = 0 if timeout is None else timeout.total_seconds()
        shown = f"{seconds:.3f}".rstrip("0").rstrip(".")
        return self.fail(TimeoutError(f"step {self.info.name!r} timed out after {shown} s"))

    def _times(self) -> dict[str, Any]:
        """By the clock that cannot jump, so that a step never ends before it began."""
        took = timedelta(seconds=perf_counter() - self.started)
        return {
            "started_at": self.started_at,
            "completed_at": self.started_at + took,
            "duration_ms": round(took / timedelta(milliseconds=1), 3),
        }


def as_recorded(at: datetime | None) -> datetime:
    """A time as the next request will have it: in whole milliseconds."""
    at = at or now()
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def complete_workflow(output: Any) -> Answer:
    """The workflow's function has returned."""
    try:
        return Answer(Complete(), checked_json(output, "what the workflow returned"))
    except OutputError as error:
        return Answer(fail_workflow(error))


def fail_workflow(error: BaseException) -> Fail:
    """The workflow's function has raised: tried again, unless the error is final."""
    return Fail(
        error=_describe(error),
        retryable=not is_final(error),
        retry_after=error.delay if isinstance(error, RetryAfter) else None,
    )


def shown_end(ended: Returned | Raised) -> str:
    """What is to stand behind "the end of the workflow": nothing, or what was raised, its class once."""
    if isinstance(ended, Returned):
        return ""
    name, text = type(ended.error).__name__, _clean(_text(ended.error))[:_MAX_SHOWN]
    return f" (it raised {text})" if text.startswith(name) else f" (it raised {name}: {text})"


def put_off(why: NoHooksError) -> Defer:
    """Nothing has failed: the engine is to ask again."""
    return Defer(retry_after=why.delay, reason=str(why))


def encode_answer(answer: Answer) -> tuple[Answer, bytes]:
    """Write the answer; one that is larger than the engine takes becomes a failure that says so.

    A failure for which there is no room leaves out what the operation was given.
    """
    body = _encode(answer)
    if len(body) <= MAX_ANSWER_BYTES:
        return answer, body
    action = answer.action
    if isinstance(action, Fail) and action.input is not None:
        return encode_answer(Answer(action.model_copy(update={"input": None})))
    error = OutputError(f"the output takes {len(body):,} bytes; an answer has at most {MAX_ANSWER_BYTES:,}")
    kept = {name: getattr(action, name) for name in _CARRIED if name in action.model_fields_set}
    if isinstance(action, StepComplete):
        kept |= {name: getattr(action, name) for name in ("step_name", "key", "after", "kind", "input")}
        kept["on_exhausted"] = "throw"
    failure = fail_workflow(error).model_copy(update=kept)
    if failure.input is not None:
        return encode_answer(Answer(failure))
    return Answer(failure), encode_message(failure)


def _encode(answer: Answer) -> bytes:
    body = encode_message(answer.action)
    if answer.output_json is None or answer.output_json == b"null":
        return body
    return b'%b,"output":%b}' % (body[:-1], answer.output_json)


def _describe(error: BaseException) -> ErrorDetail:
    return ErrorDetail(
        type=type(error).__qualname__,
        message=_clean(_text(error))[:_MAX_MESSAGE],
        code=_code(error),
        data=_data(error),
        stack=_clean(_stack(error))[-_MAX_STACK:],
    )


def _text(error: BaseException) -> str:
    name = type(error).__name__
    try:
        text = str(error)
        if isinstance(error, BaseExceptionGroup):
            text = f"{text}: {_members(error)}"
        is_enough = _is_for_people(error)
    except (Exception, SystemExit):
        return f"{name}, whose text cannot be shown"
    if not text:
        return name
    return text if is_enough else f"{name}: {text}"


def _members(group: BaseExceptionGroup[BaseException]) -> str:
    """What a group's errors say, until it is enough: a group may have thousands."""
    text = _text(group.exceptions[0])
    for error in group.exceptions[1:]:
        if len(text) > _MAX_MESSAGE:
            break
        text += f"; {_text(error)[:_MAX_MESSAGE]}"
    return text


def _is_for_people(error: BaseException) -> bool:
    """Whether the error says enough without its class: `KeyError: 'sku'` does not."""
    if isinstance(error, OSError | BaseExceptionGroup) or type(error) in _RAISED_WITH_A_SENTENCE:
        return True
    is_pythons = type(error).__module__.partition(".")[0] in sys.stdlib_module_names
    return not is_pythons and not isinstance(error, KeyError)


def _code(error: BaseException) -> str | int | None:
    code = _attribute(error, "code")
    return code if type(code) is int or (type(code) is str and len(code) <= _MAX_MESSAGE) else None


def _data(error: BaseException) -> Any:
    """What hangs on the error as `data`, unless it is no JSON or too much: it must not hide the error itself."""
    try:
        data = encode(_attribute(error, "data"))
    except Exception:
        return None
    return parse(data) if len(data) <= _MAX_DATA else None


def _attribute(error: BaseException, name: str) -> Any:
    """It may be a property, and fail."""
    try:
        return getattr(error, name, None)
    except Exception:
        return None


def _stack(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except Exception:
        return ""


def _clean(text: str) -> str:
    """Replace what UTF-8 cannot hold: an exception may quote any bytes."""
    return text.encode(errors="backslashreplace").decode()
