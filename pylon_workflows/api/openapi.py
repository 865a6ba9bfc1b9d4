"""The API as an OpenAPI 3.1 document, made of the models in `schemas.py` and the table of operations below."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from pylon_workflows.api import (
    bulk_shapes,
    explanation_view,
    history_shapes,
    publish_shapes,
    schedule_shapes,
    schemas,
)
from pylon_workflows.api.scopes import scope_of
from pylon_workflows.ports import MAX_HISTORY_PAGE, MAX_PAGE

_WORD = re.compile(r"[a-z]+")
_IN_PATH = re.compile(r"{(\w+)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path: what it takes, and the shape and description of each good answer.

    `stream` describes the messages of an answer of server-sent events.
    """

    summary: str
    answers: Mapping[int, type[BaseModel] | None]
    body: type[BaseModel] | None = None
    is_list: bool = False
    query: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    headers: tuple[str, ...] = ()
    stream: str | None = None


_ID = {"type": "string", "pattern": "^[A-Za-z0-9_.:-]{1,128}$"}

_LIST_QUERY: Mapping[str, Mapping[str, Any]] = {
    "status": {"type": "string", "description": "a status in any case, or `waiting`"},
    "name": {"type": "string", "description": "the workflow's name"},
    "tag": {
        "type": "array",
        "items": {"type": "string"},
        "description": "name:value; of several, an instance has all",
    },
    "started_after": {"type": "string", "format": "date-time", "description": "created then or later"},
    "started_before": {"type": "string", "format": "date-time", "description": "created before then"},
    "parent_id": {**_ID, "description": "the instance that started it"},
    "limit": {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": MAX_PAGE},
    "after": {**_ID, "description": "the id that ended the page before; the header Link has it"},
}

OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("/", "get"): Operation(
        summary="Instances, newest first; the header Link names the next page",
        answers={200: schemas.SummaryAnswer},
        is_list=True,
        query=_LIST_QUERY,
    ),
    ("/definitions", "get"): Operation(
        summary="All definitions, by name", answers={200: schemas.DefinitionAnswer}, is_list=True
    ),
    ("/definitions", "post"): Operation(
        summary="Register a workflow (201), or replace its registration (200)",
        body=schemas.DefinitionRequest,
        answers={201: schemas.DefinitionAnswer, 200: schemas.DefinitionAnswer},
    ),
    ("/start", "post"): Operation(
        summary="Start an instance (201), or find the one that was started so before (200)",
        body=schemas.StartRequest,
        answers={201: schemas.StartAnswer, 200: schemas.StartAnswer},
        headers=("Idempotency-Key",),
    ),
    ("/events", "post"): Operation(
        summary="Publish an event for whichever instance waits with its correlation key, once per event id",
        body=publish_shapes.PublishRequest,
        answers={200: schemas.EventAnswer},
        headers=("webhook-id", "Idempotency-Key"),
    ),
    ("/schedules", "get"): Operation(
        summary="All schedules, by id", answers={200: schedule_shapes.ScheduleAnswer}, is_list=True
    ),
    ("/schedules", "post"): Operation(
        summary="Start a workflow again and again (201), or change the schedule that has this id (200)",
        body=schedule_shapes.ScheduleRequest,
        answers={201: schedule_shapes.ScheduleAnswer, 200: schedule_shapes.ScheduleAnswer},
    ),
    ("/schedules/{id}", "get"): Operation(summary="A schedule", answers={200: schedule_shapes.ScheduleAnswer}),
    ("/schedules/{id}", "delete"): Operation(summary="Forget a schedule", answers={204: None}),
    ("/schedules/{id}/pause", "post"): Operation(
        summary="Let a schedule start nothing", answers={200: schedule_shapes.ScheduleAnswer}
    ),
    ("/schedules/{id}/resume", "post"): Operation(
        summary="Let a paused schedule go on with its next tick", answers={200: schedule_shapes.ScheduleAnswer}
    ),
    ("/cancel", "post"): Operation(
        summary="Cancel a page of the unfinished instances that the body chooses",
        body=bulk_shapes.BulkRequest,
        answers={200: bulk_shapes.BulkAnswer},
    ),
    ("/resume", "post"): Operation(
        summary="Let a page of the blocked instances that the body chooses go on",
        body=bulk_shapes.BulkRequest,
        answers={200: bulk_shapes.BulkAnswer},
    ),
    ("/healthz", "get"): Operation(summary="Whether the engine takes work", answers={200: schemas.HealthAnswer}),
    ("/openapi.json", "get"): Operation(summary="This document", answers={200: None}),
    ("/{id}", "get"): Operation(
        summary="An instance, as it is or as it was at a revision",
        answers={200: schemas.InstanceAnswer},
        query={"as_of": {"type": "integer", "minimum": 1, "description": "a revision of the instance"}},
    ),
    ("/{id}", "delete"): Operation(summary="Delete a finished instance", answers={204: None}),
    ("/{id}/history", "get"): Operation(
        summary="The transitions of an instance, in order; the header Link names the next page",
        answers={200: history_shapes.TransitionAnswer},
        is_list=True,
        query={
            "after": {"type": "integer", "minimum": 0, "description": "the revision that ended the page before"},
            "limit": {"type": "integer", "minimum": 1, "maximum": MAX_HISTORY_PAGE, "default": MAX_HISTORY_PAGE},
        },
    ),
    ("/{id}/export", "get"): Operation(
        summary="An instance as one document, which `pylon-workflows import` and the test kit read",
        answers={200: history_shapes.ExportAnswer},
    ),
    ("/{id}/explain", "get"): Operation(
        summary="Why an instance is where it is, and what would let it go on",
        answers={200: explanation_view.ExplanationAnswer},
    ),
    ("/{id}/stream", "get"): Operation(
        summary="What has happened to an instance and happens next, as server-sent events, until it has finished",
        answers={204: None},
        stream="Messages whose ids are revisions and whose data are transitions, as the history has them",
        query={"after": {"type": "integer", "minimum": 0, "description": "a revision; what follows it is sent"}},
        headers=("Last-Event-ID",),
    ),
    ("/stream", "get"): Operation(
        summary="Instances as they change, of those that fit a list's filter, as server-sent events",
        answers={},
        stream="Messages whose ids are the numbers of changes and whose data are instances, as a list shows them",
        query={
            **{name: term for name, term in _LIST_QUERY.items() if name not in ("limit", "after")},
            "after": {"type": "integer", "minimum": 0, "description": "the id of the message after which to go on"},
        },
        headers=("Last-Event-ID",),
    ),
    ("/{id}/event", "post"): Operation(
        summary="Send an event, accepted once per event id",
        body=schemas.EventRequest,
        answers={200: schemas.EventAnswer},
        headers=("webhook-id", "Idempotency-Key"),
    ),
    ("/{id}/approvals/{key}", "post"): Operation(
        summary="Approve or reject the gate at which an instance waits; its key is percent-encoded",
        body=schemas.ApprovalRequest,
        answers={200: schemas.ApprovalAnswer},
    ),
    ("/{id}/cancel", "post"): Operation(summary="Cancel an instance", answers={200: schemas.CancelAnswer}),
    ("/{id}/advance", "post"): Operation(summary="Do now what is due", answers={200: schemas.StatusAnswer}),
    ("/{id}/resume", "post"): Operation(summary="Let a blocked instance go on", answers={200: schemas.StatusAnswer}),
}


def document(root_path: str) -> dict[str, Any]:
    """The document, for an application mounted at `root_path`."""
    paths: dict[str, dict[str, Any]] = {}
    for (path, method), operation in OPERATIONS.items():
        paths.setdefault(path, {})[method] = _operation(path, method, operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "pylon-workflows", "version": version("pylon-workflows")},
        "servers": [{"url": root_path or "/"}],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "a token with the scope that the operation names, or with admin; without any token "
                    "the API answers programs on its own machine",
                }
            },
        },
    }


def _operation(path: str, method: str, operation: Operation) -> dict[str, Any]:
    parameters = [
        *(
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in _IN_PATH.findall(path)
        ),
        *({"name": name, "in": "query", "schema": schema} for name, schema in operation.query.items()),
        *({"name": name, "in": "header", "schema": {"type": "string"}} for name in operation.headers),
    ]
    words = _WORD.findall(
        path.replace("schedules/{id}", "schedule").replace("{id}", "instance").replace("{key}", "")
    ) or ["instances"]
    described: dict[str, Any] = {
        "operationId": "_".join([method, *words]),
        "summary": operation.summary,
        "security": [{}] if (wanted := scope_of(path, method.upper())) is None else [{"token": [wanted]}, {}],
        "responses": {
            **{str(status): _answer(shape, is_list=operation.is_list) for status, shape in operation.answers.items()},
            "default": {
                "description": "What went wrong",
                "content": {"application/problem+json": {"schema": _reference(schemas.ProblemAnswer)}},
            },
        },
    }
    if operation.stream is not None:
        content = {"text/event-stream": {"schema": {"type": "string"}}}
        described["responses"]["200"] = {"description": operation.stream, "content": content}
    if parameters:
        described["parameters"] = parameters
    if operation.body is not None:
        described["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _reference(operation.body)}},
        }
    return described


def _answer(shape: type[BaseModel] | None, *, is_list: bool) -> dict[str, Any]:
    if shape is None:
        return {"description": "Done"}
    schema = {"type": "array", "items": _reference(shape)} if is_list else _reference(shape)
    described = (shape.__doc__ or "").strip()
    return {"description": described, "content": {"application/json": {"schema": schema}}}


def _reference(shape: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{shape.__name__}"}


@cache
def _schemas() -> dict[str, Any]:
    requests = {operation.body for operation in OPERATIONS.values() if operation.body is not None}
    answers = {shape for operation in OPERATIONS.values() for shape in operation.answers.values() if shape is not None}
    shapes = sorted(requests | answers | {schemas.ProblemAnswer}, key=lambda shape: shape.__name__)
    _, made = models_json_schema(
        [(shape, "validation") for shape in shapes], ref_template="#/components/schemas/{model}"
    )
    definitions: dict[str, Any] = made["$defs"]
    return definitions
