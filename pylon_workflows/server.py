"""`serve`: an engine with its HTTP API in a process of its own."""

import asyncio
import contextlib
import functools
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from pylon_workflows.api.app import create_app
from pylon_workflows.api.limits import Limits
from pylon_workflows.api.origins import checked_hosts, checked_origins, is_loopback
from pylon_workflows.api.problems import Problem
from pylon_workflows.definitions import WorkflowDefinition
from pylon_workflows.edge import open_files
from pylon_workflows.edge.access_log import ShownPaths
from pylon_workflows.edge.connections import Connections, EdgeLimits
from pylon_workflows.edge.protocol import GuardedConfig
from pylon_workflows.edge.seldom_told import SeldomTold
from pylon_workflows.errors import EngineError, InvalidInputError
from pylon_workflows.hooks import HookSource, create_hooks_app
from pylon_workflows.hooks.hook_calls import without_signature
from pylon_workflows.outbound_webhooks import OutboundWebhook
from pylon_workflows.ports import Engine, PayloadCodec
from pylon_workflows.runner.auth import RunnerAuth
from pylon_workflows.settings import DEFAULT_RUNNER_URL, EngineSettings, Synchronous
from pylon_workflows.store.token_rows import has_tokens
from pylon_workflows.tokens import checked_own_token
from pylon_workflows.workflow_engine import WorkflowEngine

PREFIX = "/api/workflows"
HOOKS_PREFIX = "/hooks"
DEFAULT_PORT = 8765
_CLOSE_CONNECTIONS_WITHIN_S = 5
_SHOWN_PATHS = ShownPaths(without_signature)
_SELDOM_TOLD = SeldomTold()
_ALL_BODIES_BYTES = 128 * 1024 * 1024
_LATER_THAN_THE_API_S = 5.0
"""The API answers 408 to a body that is too slow; where it does not read, its connection ends after this."""


class CannotListenError(EngineError, code="cannot-listen"):
    """The address is taken, or is none of this machine's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """What `serve` is told. Port 0 lets the system choose; `loop="auto"` takes uvloop where it is installed.
    The repr leaves out what is a secret or may hold one, as a URL may.

    A request's head has `head_timeout_s` to come. There are as many connections at a time as the process may have files
    open, or `max_connections`.

    Raises:
        InvalidInputError: another host than this machine's own, and neither a token here nor one in the file nor
        `hooks`, which other machines may call: nobody could call from there. A host or origin that is none, a number
        that is not positive, a token that is none or one of a file's.
    """

    runner: str = field(default=DEFAULT_RUNNER_URL, repr=False)
    runners: Mapping[str, str] = field(default_factory=dict, repr=False)
    database: str = "workflows.db"
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    token: str | None = field(default=None, repr=False)
    allowed_hosts: Sequence[str] = ()
    cors_origins: Sequence[str] = ()
    head_timeout_s: float = 10.0
    max_connections: int | None = None
    workflows: Sequence[WorkflowDefinition] = ()
    synchronous: Synchronous = "full"
    loop: Literal["auto", "asyncio", "uvloop"] = "auto"
    has_access_log: bool = False
    hooks: Sequence[HookSource] = ()
    limits: Limits = Limits()  # noqa: RUF009 -- frozen
    settings: EngineSettings = field(default_factory=EngineSettings)
    runner_auth: RunnerAuth | None = None
    webhooks: Sequence[OutboundWebhook] = ()
    codec: PayloadCodec | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.token is not None:
            checked_own_token(self.token)
        checked_hosts(self.allowed_hosts)
        checked_origins(self.cors_origins)
        self.edge_limits(1)
        has_hooks = bool(self.hooks) or self.settings.hooks_url is not None
        is_open = self.token is not None or has_hooks or has_tokens(Path(self.database))
        if not is_loopback(self.host) and not is_open:
            raise InvalidInputError(
                f"host: listening on {self.host} lets other machines in, so set a token (--token, or "
                f"PYLON_WORKFLOW_TOKEN), or make one (pylon-workflows token create --db {self.database}); without one "
                "use 127.0.0.1"
            )

    def edge_limits(self, most: int) -> EdgeLimits:
        """What callers get, where there is room for so many. Raises InvalidInputError."""
        return EdgeLimits(
            max_connections=most if self.max_connections is None else self.max_connections,
            head_timeout_s=self.head_timeout_s,
            body_timeout_s=self.limits.body_timeout_s + _LATER_THAN_THE_API_S,
            all_bodies_bytes=max(_ALL_BODIES_BYTES, 4 * self.limits.max_body_bytes),
        )


def serve(options: ServeOptions, announce: Callable[[str], None] = print) -> None:
    """Serve until SIGTERM or SIGINT, then let the steps in flight finish, answering 503 in the meantime.

    `announce` gets one line, `listening on URL`, as soon as requests are answered. A second signal stops at once.

    Raises:
        CannotListenError, StoreError (the file is in use, newer, corrupt...), InvalidInputError: it did not start.
        OwnershipLostError: it has stopped, because the file was removed or replaced.
        KeyboardInterrupt: stopped by a second signal.
    """
    with asyncio.Runner(loop_factory=_loop_factory(options.loop)) as runner, _listener(options) as listener:
        try:
            runner.run(_serve(options, listener, announce))
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None


def serving_app(
    engine: Engine,
    *,
    token: str | None,
    limits: Limits | None = None,
    allowed_hosts: Sequence[str] = (),
    cors_origins: Sequence[str] = (),
    hooks: Sequence[HookSource] = (),
) -> ASGIApp:
    """The API at `/api/workflows`, its `/healthz` at the root too, webhooks at `/hooks`."""
    api = create_app(engine, token=token, limits=limits, allowed_hosts=allowed_hosts or None, cors_origins=cors_origins)
    webhooks = create_hooks_app(engine, hooks, limits=limits)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if path == PREFIX or path.startswith(f"{PREFIX}/"):
            await api({**scope, "root_path": PREFIX}, receive, send)
        elif path.startswith(f"{HOOKS_PREFIX}/"):
            await webhooks({**scope, "root_path": HOOKS_PREFIX}, receive, send)
        elif path == "/healthz":
            await api(scope, receive, send)
        else:
            problem = Problem(status=404, code="unknown-route", detail=f"nothing is here; the API is at {PREFIX}")
            await problem.response()(scope, receive, send)

    return app


class _Server(uvicorn.Server):
    """A uvicorn that says when it accepts, and leaves the process's signals alone: `_serve` stops it."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()


async def _serve(options: ServeOptions, listener: socket.socket, announce: Callable[[str], None]) -> None:
    engine = WorkflowEngine(
        runner=options.runner,
        runners=options.runners,
        runner_auth=options.runner_auth,
        webhooks=options.webhooks,
        database=options.database,
        synchronous=options.synchronous,
        codec=options.codec,
        settings=options.settings,
    )
    for definition in options.workflows:
        engine.register(definition)
    files = open_files.raise_limit()
    most = open_files.connections_within(files, for_runners=options.settings.max_in_flight)
    connections = Connections(options.edge_limits(most), asyncio.get_running_loop().time)
    app = serving_app(
        engine,
        token=options.token,
        limits=options.limits,
        allowed_hosts=options.allowed_hosts,
        cors_origins=options.cors_origins,
        hooks=options.hooks,
    )
    logging.getLogger("uvicorn.access").addFilter(_SHOWN_PATHS)
    logging.getLogger("uvicorn.error").addFilter(_SELDOM_TOLD)
    config = GuardedConfig(
        app,
        connections,
        backlog=open_files.accepted_at_once(files),
        lifespan="off",
        ws="none",
        proxy_headers=False,
        server_header=False,
        access_log=options.has_access_log,
        log_config=None,
        log_level="info" if options.has_access_log else "warning",
        timeout_graceful_shutdown=_CLOSE_CONNECTIONS_WITHIN_S,
    )
    server = _Server(config, lambda: announce(f"listening on {_url(listener)}"))
    with _stopped_by_signals() as stop:
        async with contextlib.AsyncExitStack() as server_outlives_engine, engine:
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            server_outlives_engine.push_async_exit(functools.partial(_stop, server, serving))
            guarding = asyncio.create_task(connections.run(), name="end slow connections")
            server_outlives_engine.callback(guarding.cancel)
            stopping = asyncio.create_task(stop.wait())
            failing = asyncio.create_task(engine.until_failed())
            await asyncio.wait([serving, stopping, failing], return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if failing.done():
                raise failing.result()
            failing.cancel()
            # Leaving the engine drains it. The server is up for that long, so that callers hear 503, not silence.


async def _stop(
    server: uvicorn.Server, serving: asyncio.Task[None], kind: type[BaseException] | None, *_: object
) -> None:
    server.should_exit = True
    server.force_exit = kind is not None
    await serving


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[asyncio.Event]:
    """An event that the first SIGTERM or SIGINT sets; the second cancels the task that this runs in."""
    stop, loop, task = asyncio.Event(), asyncio.get_running_loop(), asyncio.current_task()

    def on_signal() -> None:
        if stop.is_set() and task is not None:
            task.cancel()
        stop.set()

    signals = (signal.SIGTERM, signal.SIGINT) if threading.current_thread() is threading.main_thread() else ()
    for number in signals:
        loop.add_signal_handler(number, on_signal)
    try:
        yield stop
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


def _listener(options: ServeOptions) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        listener = socket.create_server((options.host, options.port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        reason = reason.partition(" (while ")[0]  # Python repeats the address there
        raise CannotListenError(f"cannot listen on {options.host} port {options.port}: {reason}") from None
    # Connections inherit it. asyncio sets it only on sockets that say their protocol, and the end of an answer that is
    # written in two pieces then waits 40 ms for the caller to acknowledge the beginning.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}{PREFIX}"


def _loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if name == "asyncio":
        return None
    try:
        import uvloop  # noqa: PLC0415 -- it is an extra
    except ImportError:
        if name == "uvloop":
            raise InvalidInputError("loop: uvloop is not installed; pip install 'pylon-workflows[fast]'") from None
        return None
    return uvloop.new_event_loop
