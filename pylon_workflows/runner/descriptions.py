"""What an answer to `describe` means, whatever carried the bytes (PROTOCOL.md section 6)."""

import logging
from collections.abc import Callable
from functools import partial

from pylon_workflows.errors import (
    AnswerTooLargeError,
    MalformedAnswerError,
    RunnerError,
    RunnerUnavailableError,
    TurnTimedOutError,
)
from pylon_workflows.http_client.body_stream import BodyStream
from pylon_workflows.ports import Turn
from pylon_workflows.runner.answers import LARGE_ANSWER_BYTES, format_timeout, read_answer
from pylon_workflows.runner.large_answers import read_large
from runner_protocol.messages import (
    DESCRIBE_REQUEST,
    MAX_ANSWER_BYTES,
    Description,
    MalformedMessageError,
    parse_description,
)

_log = logging.getLogger(__name__)

DESCRIBE_TIMEOUT_S = 5.0
"""How long a runner has to describe itself: it runs no code of a workflow for that."""

DESCRIBE_TURN = Turn(
    instance_id="describe",
    workflow="",
    body=DESCRIBE_REQUEST,
    idempotency_key="describe:1:0",
    timeout_s=DESCRIBE_TIMEOUT_S,
)
"""The question as a turn's, which it is not: it is about no instance, and there is nothing to apply.

A runner that goes by the key's form, `<workflow_id>:<run>:<position>`, finds it here too.
"""

_REFUSALS = frozenset({400, 404, 405, 409, 411, 413, 415, 422, 500, 501})
"""What a runner of version 1 may say to a question without a workflow: it is there, and would say the same again."""


async def read_description(
    status: int,
    body: bytes,
    *,
    is_too_large: bool = False,
    content_encoding: str | None = None,
    who: str = "the runner",
) -> Description | None:
    """Judge an HTTP status and a whole body; None for a runner that knows of no such question.

    Raises:
        RunnerUnavailableError: a proxy has answered, or a server that is not ready.
    """
    if status in _REFUSALS:
        return None
    judge = partial(read_answer, status, body, is_too_large=is_too_large, content_encoding=content_encoding, who=who)
    return await read_large(_read, judge, body) if len(body) > LARGE_ANSWER_BYTES else _read(judge, body)


def _read(judge: Callable[[], object], body: bytes) -> Description | None:
    try:
        judge()
    except AnswerTooLargeError as error:
        _log.warning("a runner's description of its workflows cannot be read: %.200s", error)
        return None
    except MalformedAnswerError:
        pass  # for a turn; a description is no action
    else:
        return None  # a runner of version 1 has taken it for a turn
    try:
        return parse_description(body)
    except MalformedMessageError as error:
        if b'"description"' in body:  # or else it does not mean to be one
            _log.warning("a runner's description of its workflows cannot be read: %s", error)
        return None


async def read_whole(body: BodyStream, until: float) -> bytes:
    """All of a description that comes as a stream, or what is too much for one. Raises TurnTimedOutError."""
    whole = bytearray()
    try:
        while len(whole) <= MAX_ANSWER_BYTES and (data := await body.read(until)):
            whole += data
    except TimeoutError:
        raise TurnTimedOutError(format_timeout(DESCRIBE_TIMEOUT_S)) from None
    finally:
        body.close()
    return bytes(whole)


def as_away(error: RunnerError) -> RunnerUnavailableError:
    """What it means that there was no answer: nothing has failed but the asking."""
    return error if isinstance(error, RunnerUnavailableError) else RunnerUnavailableError(f"the runner: {error}")
