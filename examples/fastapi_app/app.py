"""A FastAPI app with durable workflows inside; README.md says how to run it."""

import os
from typing import Annotated, Any

from fastapi import FastAPI, Header, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from pylon_workflows import (
    CallerError,
    EngineError,
    StoreError,
    UnknownInstanceError,
    WorkflowDefinition,
    WorkflowEngine,
    WorkflowError,
    create_app,
)

User = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class Signup(BaseModel):
    user: User
    pause: str = "24h"


class Confirmation(BaseModel):
    user: User
    via: str = "mail"


# The runner's URL is PYLON_WORKFLOW_RUNNER_URL, or http://127.0.0.1:9876/run.
engine = WorkflowEngine(database=os.environ.get("WORKFLOWS_DATABASE", "workflows.db"))
engine.register(WorkflowDefinition("onboarding", max_retries=3))

app = FastAPI(lifespan=engine.lifespan)  # opens the file, goes on with what is in it, drains on shutdown
app.mount("/api/workflows", create_app(engine, token=os.environ.get("PYLON_WORKFLOW_TOKEN") or None))


@app.post("/signups", status_code=202)
async def sign_up(signup: Signup) -> dict[str, str]:
    """Start the workflow; the same signup again finds the instance that is there."""
    return {"id": await engine.start("onboarding", signup.model_dump(), id=f"onboarding-{signup.user}")}


@app.post("/webhooks/confirmed")
async def confirmed(
    confirmation: Confirmation, webhook_id: Annotated[str | None, Header(max_length=128)] = None
) -> dict[str, bool]:
    """Resume it. A webhook may come before anything waits for it, and twice: its id makes the second one harmless.

    A real one is verified first, as `create_hooks_app` does it (docs/webhooks.md): whoever can call this confirms any
    user.
    """
    data = {"via": confirmation.via}
    receipt = await engine.send_event(
        f"onboarding-{confirmation.user}", "user_confirmed", data, event_id=webhook_id or None
    )
    return {"ok": True, "duplicate": receipt.is_duplicate}


@app.exception_handler(CallerError)
async def refuse(_request: Request, error: CallerError) -> JSONResponse:
    """What the engine refuses is the caller's doing: a 4xx with its sentence."""
    return problem(404 if isinstance(error, UnknownInstanceError) else 409, error)


@app.exception_handler(EngineError)
@app.exception_handler(StoreError)
async def not_now(_request: Request, error: EngineError | StoreError) -> JSONResponse:
    """The engine cannot do it at this moment (no owner, a full disk): a 5xx, so that a webhook's sender tries again."""
    return problem(503, error, {"retry-after": "5"})


def problem(status: int, error: WorkflowError, headers: dict[str, str] | None = None) -> JSONResponse:
    """As the engine's own API says it (RFC 9457)."""
    content: dict[str, Any] = {"status": status, "detail": str(error), "code": error.code}
    return JSONResponse(content, status, headers, media_type="application/problem+json")
