"""`Runner`: a set of workflows that answers turns, over HTTP or in the engine's own process."""

import logging
from collections.abc import Iterable
from datetime import timedelta
from functools import cached_property

from runner_protocol.kit.answers import encode_answer
from runner_protocol.kit.server import MAX_REQUEST_BYTES, AsgiApp, asgi_app, refuse, serve_app
from runner_protocol.kit.turn import Turn
from runner_protocol.kit.workflow import Workflow
from runner_protocol.messages import (
    ADVANCE,
    DESCRIBE,
    Action,
    Defer,
    Fail,
    MalformedMessageError,
    TurnRequest,
    parse_question,
)

logger = logging.getLogger("runner_protocol.kit")

_UNKNOWN_WORKFLOW_RETRY = timedelta(seconds=5)


class Runner:
    """Answers the turns of the given workflows; keeps no state, so any number may run beside each other.

    `cleanup_timeout_s` is how long the `finally` blocks of a workflow's function may take at a pause.

    Raises:
        TypeError: something given is no workflow.
        ValueError: two workflows have one name.
    """

    def __init__(self, workflows: Iterable[Workflow], *, cleanup_timeout_s: float = 1.0) -> None:
        self._workflows: dict[str, Workflow] = {}
        self._cleanup_timeout_s = cleanup_timeout_s
        for workflow in workflows:
            if not isinstance(workflow, Workflow):
                raise TypeError(f'{workflow!r} is no workflow: decorate it with @workflow("name")')
            if workflow.name in self._workflows:
                raise ValueError(f"two workflows are named {workflow.name!r}")
            self._workflows[workflow.name] = workflow

    async def handle(self, body: bytes) -> tuple[int, bytes]:
        """Answer one request: HTTP status and JSON. Never raises for what the body holds.

        Cancelled, it cancels the step that is running.
        """
        try:
            return await self._reply(body)
        except Exception:
            logger.exception("the kit has failed; this is no fault of the workflow")
            return refuse(500, "the kit has failed; the runner's log says how")

    @cached_property
    def app(self) -> AsgiApp:
        """The runner as an ASGI application; mounted with Starlette at `/run` its URL is `/run/`, with the slash."""
        return asgi_app(self.handle)

    def serve(self, port: int | None = None, *, host: str | None = None) -> None:
        """Serve with uvicorn until SIGINT or SIGTERM; the line `runner listening on URL` says when and where.

        Without arguments the address is that of PYLON_WORKFLOW_RUNNER_URL, else http://127.0.0.1:9876/run; port 0
        takes any free one. Raises OSError when the port is taken.
        """
        serve_app(self.app, host=host, port=port)

    async def _reply(self, body: bytes) -> tuple[int, bytes]:
        if len(body) > MAX_REQUEST_BYTES:
            return refuse(413, f"a request has at most {MAX_REQUEST_BYTES:,} bytes")
        try:
            request = parse_question(body)
        except MalformedMessageError as error:
            return refuse(400, str(error))
        if request is None or request.mode != ADVANCE:
            mode = DESCRIBE if request is None else request.mode[:100]
            return refuse(400, f"mode: {mode!r} is not supported by this release, only {ADVANCE!r}")
        return 200, encode_answer(await self._answer(request))

    async def _answer(self, request: TurnRequest) -> Action:
        workflow = self._workflows.get(request.workflow_name)
        if workflow is None:
            return Defer(retry_after=_UNKNOWN_WORKFLOW_RETRY, reason=f"unknown workflow {request.workflow_name!r}")
        action = await Turn(workflow, request, cleanup_timeout_s=self._cleanup_timeout_s).answer()
        if isinstance(action, Fail):
            logger.info("%s: %s has failed", request.workflow_id, action.key or "the workflow's function")
        return action
