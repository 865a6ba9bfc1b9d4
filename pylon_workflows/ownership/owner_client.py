"""The standby's end of the link: one request to the owner and its answer, or the error that the owner answered with."""

import asyncio
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pylon_workflows import errors
from pylon_workflows.http_client.client import HttpClient
from pylon_workflows.http_client.connection import Answer, CannotConnectError, HttpClientError
from pylon_workflows.logs import request_id
from pylon_workflows.ownership.owner_requests import OwnerRequest
from pylon_workflows.ownership.socket_file import short_name
from runner_protocol.strict_json import MAX_DEPTH, JsonError, parse

MAX_AT_A_TIME = 128
"""Requests under way; the others wait. The owner works in one thread: more would only stand in its queue."""


class NotDoneError(Exception):
    """The owner has not done it: it is not there, or is not serving. The message says which."""


class AnswerLostError(Exception):
    """The owner may have done it, and went away before it said so."""


class OwnerClient:
    """Asks whoever listens at `path` now, a database's `socket_path`. Belongs to the event loop in which it is made."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database = path.with_suffix("")
        self._places = asyncio.Semaphore(MAX_AT_A_TIME)
        self._names = ExitStack()
        self._client: HttpClient | None = None
        self._identity: int | None = None
        self._closing: set[asyncio.Task[None]] = set()

    async def ask(self, request: OwnerRequest[Any], deadline: float) -> tuple[int, Any]:
        """The status and JSON of a good answer, which comes by `deadline`, in the loop's time.

        Raises:
            NotDoneError, AnswerLostError; a WorkflowError that the owner answered with.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(deadline):
                await self._places.acquire()
        except TimeoutError:
            raise NotDoneError("it is busy with others") from None
        try:
            if (stranger := self._stranger()) is not None:
                raise NotDoneError(f"{self._path} belongs to user {stranger}, who is not to be told anything")
            client = self._open_client()
            timeout_s = max(deadline - loop.time(), 0.001)
            answer = await client.request(_head(request), request.body, timeout_s=timeout_s)
        except CannotConnectError as error:
            raise NotDoneError(str(error)) from None
        except HttpClientError as error:
            raise AnswerLostError(str(error)) from None
        finally:
            self._places.release()
        return _read(answer)

    def notice(self) -> None:
        """Look whether another owner listens there now; if so, hang up on the former one, which may never answer."""
        try:
            identity = self._path.stat().st_ino
        except OSError:
            return
        if identity != self._identity:
            self._identity = identity
            self._hang_up()

    def _stranger(self) -> int | None:
        """The user whose socket is there, if it is none who may write the database: in a folder that is everybody's,
        anybody may have put it there.
        """
        try:
            found = self._path.lstat().st_uid
            return None if found in (os.geteuid(), 0, self._database.stat().st_uid) else found
        except OSError:
            return None  # nothing is there: who connects will hear of it

    def _open_client(self) -> HttpClient:
        if self._client is None:
            self._names.close()
            name = self._names.enter_context(short_name(self._path))
            self._client = HttpClient(unix_path=name)
        return self._client

    def _hang_up(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            task = asyncio.create_task(client.close(), name="hang up on the former owner")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Hang up."""
        self._hang_up()
        await asyncio.gather(*self._closing)
        self._names.close()


def _head(request: OwnerRequest[Any]) -> bytes:
    """What is done for a caller of this process's API stands under the same id in the owner's log."""
    lines = [f"{request.method} {request.target} HTTP/1.1", "host: owner", f"content-length: {len(request.body)}"]
    if (its_id := request_id.get()) is not None:
        lines.append(f"x-request-id: {its_id}")
    return "\r\n".join([*lines, "", ""]).encode()


_NOT_DONE = (errors.EngineNotRunningError.code, errors.OwnershipLostError.code, errors.NoOwnerError.code)

_ENVELOPE = 8
"""How far down an answer the values stand that may themselves be as deep as any: a schedule's input stands 1 down."""


def _read(answer: Answer) -> tuple[int, Any]:
    try:
        value: Any = parse(answer.body, max_depth=MAX_DEPTH + _ENVELOPE) if answer.body else None
        if answer.status < 400:
            return answer.status, value
        code, detail = str(value["code"]), str(value["detail"])
    except (JsonError, TypeError, KeyError):
        raise AnswerLostError(f"it answered {answer.status}, and not as an owner does") from None
    if code in _NOT_DONE:
        raise NotDoneError(detail)
    raise _error(answer.status, code, detail)


def _error(status: int, code: str, detail: str) -> errors.WorkflowError:
    """The error of that code; of one that is known to the HTTP API alone, the nearest."""
    found = _by_code(errors.WorkflowError).get(code)
    if found is None:
        nearest = {400: errors.InvalidInputError, 409: errors.ConflictError, 413: errors.TooLargeError}
        found = nearest.get(status, errors.CallerError if status < 500 else errors.EngineError)
    return found(detail)


def _by_code(kind: type[errors.WorkflowError]) -> dict[str, type[errors.WorkflowError]]:
    found = {}
    for one in kind.__subclasses__():
        found.update(_by_code(one))
        if one.__module__ == errors.__name__:
            found[one.code] = one
    return found
