"""Which status each error is answered with."""

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from pylon_workflows import errors
from pylon_workflows.api import refusals
from pylon_workflows.api.problems import Problem


@dataclass(frozen=True, slots=True)
class Answer:
    """How an error is answered. `detail` replaces a message that speaks of this machine and not of the request."""

    status: int
    detail: str | None = None
    retry_after_s: int | None = None


ANSWERS: Mapping[type[errors.WorkflowError], Answer] = {
    errors.CallerError: Answer(400),
    errors.TooLargeError: Answer(413),
    errors.UnknownWorkflowError: Answer(404),
    errors.UnknownInstanceError: Answer(404),
    errors.UnknownScheduleError: Answer(404),
    errors.UnknownTokenError: Answer(404),
    errors.ConflictError: Answer(409),
    errors.InboxFullError: Answer(429),
    errors.TooManySchedulesError: Answer(429),
    errors.TooManyTokensError: Answer(429),
    errors.EngineNotRunningError: Answer(503, retry_after_s=1),
    errors.NoOwnerError: Answer(503, "the process that owns the database does not answer", retry_after_s=1),
    errors.OtherLoopError: Answer(503, "this application runs in another event loop than its engine; see the log"),
    errors.StorageFullError: Answer(503, "the disk is full; nothing was changed", retry_after_s=5),
    errors.OwnershipLostError: Answer(503, "the engine has stopped: its database was taken away", retry_after_s=5),
    errors.UnreadableInstanceError: Answer(503, retry_after_s=60),
    errors.StorageFailedError: Answer(503, "the engine writes no more: its disk has failed", retry_after_s=5),
    errors.CorruptDatabaseError: Answer(500, "what the database holds of this cannot be read"),
    errors.StoreError: Answer(503, "the database cannot be used now", retry_after_s=5),
    refusals.UnknownRouteError: Answer(404),
    refusals.MethodNotAllowedError: Answer(405),
    errors.WrongHookUrlError: Answer(401),
    refusals.MissingTokenError: Answer(401),
    refusals.NotLocalError: Answer(403),
    refusals.NotAllowedError: Answer(403),
    refusals.MissingScopeError: Answer(403),
    refusals.ForeignOriginError: Answer(403),
    refusals.UnknownHostError: Answer(421),
    refusals.BadSignatureError: Answer(401),
    refusals.UnknownSourceError: Answer(404),
    refusals.BodyTooSlowError: Answer(408),
    refusals.TooManyStreamsError: Answer(429, retry_after_s=5),
    refusals.UnsupportedEncodingError: Answer(415),
}
"""An error is answered as the nearest of its classes says."""


def explain(error: Exception) -> Problem | None:
    """The problem that an error is told as; None when nobody foresaw it."""
    if isinstance(error, HTTPException):
        return _said_by_host(error)
    if isinstance(error, ClientDisconnect):
        return Problem(status=400, code="disconnected", detail="the body: ended before its time")
    if not isinstance(error, errors.WorkflowError):
        return None
    answer = next((ANSWERS[kind] for kind in type(error).__mro__ if kind in ANSWERS), None)
    if answer is None:
        return None
    headers = dict(error.headers) if isinstance(error, refusals.RefusedRequestError) else {}
    if answer.retry_after_s is not None:
        headers["retry-after"] = str(answer.retry_after_s)
    if answer.status == 413:
        headers["connection"] = "close"
    return Problem(status=answer.status, code=error.code, detail=answer.detail or str(error), headers=headers)


def _said_by_host(error: HTTPException) -> Problem | None:
    """The refusal that the host application's `authorize` has raised; None for one that is no refusal."""
    if not 400 <= error.status_code < 600:
        return None
    code = {401: "unauthorized", 403: "not-allowed"}.get(error.status_code, refusals.RefusedRequestError.code)
    return Problem(status=error.status_code, code=code, detail=str(error.detail), headers=dict(error.headers or {}))
