"""`Runner`: a set of workflows that answers turns, over HTTP or in the engine's own process."""

import logging
from collections.abc import AsyncGenerator, Coroutine, Iterable
from contextlib import aclosing
from datetime import timedelta
from functools import cached_property
from typing import Any

from runner_protocol.kit.asgi import MAX_REQUEST_BYTES, AsgiApp, asgi_app, refuse
from runner_protocol.kit.rehearsal import Rehearsal
from runner_protocol.kit.serve import serve_app
from runner_protocol.kit.turn import Turn
from runner_protocol.kit.workflow import Workflow
from runner_protocol.kit.workflows import Workflows
from runner_protocol.messages import (
    ADVANCE,
    RUN_STEP,
    Defer,
    MalformedMessageError,
    TurnRequest,
    encode_message,
    parse_question,
    parse_request,
)
from runner_protocol.signing import SigningKeys, keys_from_environment
from runner_protocol.strict_json import parse

logger = logging.getLogger("runner_protocol.kit")

_RETRY = timedelta(seconds=5)


class Runner:
    """Answers the turns of the given workflows; keeps no state, so any number may run beside each other.

    With `stream` a turn goes on after each step, and gathered steps run at the same time, for callers that accept it;
    without, each turn runs one step. `cleanup_timeout_s` is how long the `finally` blocks of a workflow's function may
    take at a pause.

    With `secrets`, or with those of PYLON_WORKFLOW_RUNNER_SECRETS (with commas between), `app` answers only requests
    that were signed with one of them within the last five minutes, and 401 to all others: give the engine the same.
    A secret is `whsec_` and base64 of 24 to 64 bytes. `handle` and `stream` are for this process, and ask for none.

    Raises:
        TypeError: something given is no workflow.
        ValueError: two workflows have one name and one version; a secret is none, or there is none in the list.
    """

    def __init__(
        self,
        workflows: Iterable[Workflow],
        *,
        secrets: Iterable[str] | None = None,
        stream: bool = True,
        cleanup_timeout_s: float = 1.0,
    ) -> None:
        self._workflows = Workflows(workflows)
        self._keys = keys_from_environment() if secrets is None else SigningKeys(secrets)
        self._streams = stream
        self._cleanup_timeout_s = cleanup_timeout_s
        self._is_stopping = False

    async def handle(self, body: bytes) -> tuple[int, bytes]:
        """Answer one request with one action: HTTP status and JSON. Never raises for what the body holds.

        Cancelled, it cancels the step that is running.
        """
        return await _reply(self._open(body, streams=False))

    async def stream(self, body: bytes) -> AsyncGenerator[bytes, None]:
        r"""Answer one request with a stream: each action as soon as it is known, as one line that ends in `\n`.

        Of a runner made with `stream=False`, and to `run_step` and `describe`, the stream has one line. Nothing is
        raised for what the body holds: a request that is none is answered by a `defer` that says why. Lines are made
        only as they are asked for, so a slow reader slows the workflow down. `aclose()`, or cancelling who waits for
        the next line, says that the caller has gone: no step starts any more and those that run are cancelled. So
        iterate it inside of `contextlib.aclosing`.

        Raises:
            Exception: a fault of the kit's own; the lines given before it count.
        """
        opened = self._open(body, streams=self._streams)
        if not isinstance(opened, tuple):
            async with aclosing(opened.lines()) as lines:
                async for line in lines:
                    yield line + b"\n"
            return
        status, reply = opened
        if status != 200:
            reason = f"the runner refuses the request: {parse(reply)['error']}"
            reply = encode_message(Defer(retry_after=_RETRY, reason=reason))
        yield reply + b"\n"

    def open_turn(self, body: bytes) -> AsyncGenerator[bytes, None] | Coroutine[Any, Any, tuple[int, bytes]]:
        """Answer one request as ASGI needs it: the lines of a stream, or one reply to what asks for none."""
        opened = self._open(body, streams=self._streams)
        return _reply(opened) if isinstance(opened, tuple) or not opened.is_stream else opened.lines()

    async def rehearse(self, body: bytes) -> Rehearsal:
        """Say what the workflow would do next about this request, and do none of it: for tests of new code.

        Raises:
            ValueError: the request is none, or its workflow or version is not here.
        """
        request = parse_request(body)
        workflow = self._workflows.find(request.workflow_name, request.workflow_version)
        if isinstance(workflow, str):
            raise ValueError(workflow)  # noqa: TRY004 -- a sentence in its place, for there is none
        return await Turn(workflow, request, cleanup_timeout_s=self._cleanup_timeout_s).rehearse()

    @cached_property
    def app(self) -> AsgiApp:
        """The runner as an ASGI application; mounted with Starlette at `/run` its URL is `/run/`, with the slash."""
        return asgi_app(self, self._keys)

    def serve(self, port: int | None = None, *, host: str | None = None) -> None:
        """Serve with uvicorn until SIGINT or SIGTERM; the line `runner listening on URL` says when and where.

        Without arguments the address is that of PYLON_WORKFLOW_RUNNER_URL, else http://127.0.0.1:9876/run; port 0
        takes any free one. Raises OSError when the port is taken.
        """
        serve_app(self.app, host=host, port=port, on_stop=self.stop)

    def stop(self) -> None:
        """Start no more steps: those that run may finish, and then their answers end; the engine asks again.

        `serve` calls it on SIGTERM. A host that mounts the runner calls it when it is told to stop, or a stream of many
        steps may keep it up for long.
        """
        self._is_stopping = True

    def _open(self, body: bytes, *, streams: bool) -> tuple[int, bytes] | Turn:
        if len(body) > MAX_REQUEST_BYTES:
            return refuse(413, f"a request has at most {MAX_REQUEST_BYTES:,} bytes")
        try:
            request = parse_question(body)
        except MalformedMessageError as error:
            return refuse(400, str(error))
        if request is None:
            return 200, self._workflows.describe()
        return refuse(400, wrong) if (wrong := _check_mode(request)) else self._ask(request, streams=streams)

    def _ask(self, request: TurnRequest, *, streams: bool) -> tuple[int, bytes] | Turn:
        workflow = self._workflows.find(request.workflow_name, request.workflow_version)
        if isinstance(workflow, str):
            return 200, encode_message(Defer(retry_after=_RETRY, reason=workflow))
        return Turn(
            workflow,
            request,
            streams=streams,
            cleanup_timeout_s=self._cleanup_timeout_s,
            is_stopping=lambda: self._is_stopping,
        )


async def _reply(opened: tuple[int, bytes] | Turn) -> tuple[int, bytes]:
    if isinstance(opened, tuple):
        return opened
    try:
        async with aclosing(opened.lines()) as lines:
            return 200, await anext(lines)
    except Exception:
        logger.exception("the kit has failed; this is no fault of the workflow")
        return refuse(500, "the kit has failed; the runner's log says how")


def _check_mode(request: TurnRequest) -> str | None:
    if request.mode not in (ADVANCE, RUN_STEP):
        return f"mode: {request.mode[:100]!r} is none that this release knows"
    if (request.mode == RUN_STEP) != (request.member is not None):
        return f"member: it is there in mode {RUN_STEP!r}, and only there"
    return None
