"""What an answer means: the table of PROTOCOL.md section 4, the same whatever carried the bytes."""

from http import HTTPStatus
from typing import TypeGuard

from pylon_workflows.errors import AnswerTooLargeError, MalformedAnswerError, RunnerUnavailableError
from runner_protocol.messages import (
    MAX_ANSWER_BYTES,
    Action,
    MalformedMessageError,
    NotJsonMessageError,
    StepStart,
    parse_action,
)

STREAM_TYPE = "application/x-ndjson"
ACCEPTED_TYPES = f"{STREAM_TYPE}, application/json"

LARGE_ANSWER_BYTES = 64 * 1024
"""Answers beyond this are parsed off the loop, which they would hold up for a millisecond or more."""

SHOWN_BYTES = 200
"""How much of a body a message shows."""

_UNKNOWN_CALLER = (
    " (it does not accept who asks: compare the secrets, the token and the clocks of both sides; the secrets are those "
    "of PYLON_WORKFLOW_RUNNER_SECRETS or RunnerAuth, here, and the kit's, there)"
)


def read_answer(
    status: int,
    body: bytes,
    *,
    is_too_large: bool = False,
    content_encoding: str | None = None,
    retry_after_s: float | None = None,
    who: str = "the runner",
) -> Action:
    """Judge an HTTP status and a body: the whole of it, or the beginning of one that `is_too_large`.

    Raises:
        MalformedAnswerError: 2xx with JSON that is no proper action, or compressed. AnswerTooLargeError.
        RunnerUnavailableError: any other answer without a proper action; it carries `retry_after_s`.
    """
    is_too_large = is_too_large or len(body) > MAX_ANSWER_BYTES
    if 200 <= status < 300:
        check_encoding(content_encoding)
        if is_too_large:
            raise AnswerTooLargeError(f"the answer is larger than {MAX_ANSWER_BYTES} bytes{beginning(body)}")
        return _read_success(status, body, retry_after_s)
    if status >= 500 and not is_too_large and not _is_compressed(content_encoding):
        try:
            return _parsed(body)
        except MalformedMessageError:
            pass  # the page of a proxy or of a crashed app: no answer of the workflow's
    unavailable = RunnerUnavailableError(f"{who} {_describe(status, body)}", retry_after_s=retry_after_s)
    unavailable.has_refused = status == HTTPStatus.UNAUTHORIZED
    raise unavailable


def format_timeout(timeout_s: float) -> str:
    """The sentence for a turn that found no answer in time, such as `timed out after 30 s`."""
    shown = f"{timeout_s:.3f}".rstrip("0").rstrip(".")
    return f"timed out after {shown} s"


def _read_success(status: int, body: bytes, retry_after_s: float | None) -> Action:
    if not body:
        raise RunnerUnavailableError(f"the runner answered {_name(status)} without a body", retry_after_s=retry_after_s)
    try:
        return _parsed(body)
    except NotJsonMessageError as error:
        reason = f"the runner answered {_name(status)}, {error}"
        raise RunnerUnavailableError(reason, retry_after_s=retry_after_s) from None
    except MalformedMessageError as error:
        raise MalformedAnswerError(str(error)) from None


def _parsed(body: bytes) -> Action:
    action = parse_action(body)
    if type(action) is StepStart:
        raise MalformedMessageError(f"action: 'step_start' is for streams{beginning(body)}")
    return action


def check_encoding(content_encoding: str | None) -> None:
    """Refuse an answer that is compressed. Raises MalformedAnswerError."""
    if _is_compressed(content_encoding):
        raise MalformedAnswerError(f"the answer is compressed (content-encoding: {content_encoding[:40]!r})")


def is_stream(status: int, content_type: str | None) -> bool:
    """Whether an answer is a line an action, rather than one JSON object (PROTOCOL.md section 2)."""
    if content_type is None or not 200 <= status < 300:
        return False
    return content_type.partition(";")[0].strip().lower() == STREAM_TYPE


def _is_compressed(content_encoding: str | None) -> TypeGuard[str]:
    return content_encoding is not None and content_encoding.strip().lower() not in ("", "identity")


def _describe(status: int, body: bytes) -> str:
    note = " (redirects are not followed)" if 300 <= status < 400 else _UNKNOWN_CALLER if status == 401 else ""
    return f"answered {_name(status)}{note}{beginning(body)}"


def _name(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def beginning(body: bytes) -> str:
    """What an error shows of a body."""
    return f"; the body begins {body[:SHOWN_BYTES].decode(errors='replace')!r}" if body else ""
