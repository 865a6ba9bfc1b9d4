"""Serves a runner with uvicorn, at the address that engine and runner both know."""

import contextlib
import os
import socket
import sys
from collections.abc import Callable
from urllib.parse import urlsplit

from runner_protocol.kit.asgi import AsgiApp

DEFAULT_URL = "http://127.0.0.1:9876/run"
URL_VARIABLE = "PYLON_WORKFLOW_RUNNER_URL"

_KEEP_ALIVE_S = 75
"""Longer than an engine keeps an idle connection, so that the engine is the one who closes it."""

_BACKLOG = 2048


def serve_app(
    app: AsgiApp, *, host: str | None = None, port: int | None = None, on_stop: Callable[[], None] = lambda: None
) -> None:
    """Serve until SIGINT or SIGTERM, then call `on_stop` and let answers end.

    Says on standard output where it listens, once connections are accepted.

    Raises:
        ValueError: the URL in the environment is no `http://host:port/path`.
        OSError: the port is taken.
    """
    # Only who serves needs a server: mounted or in the engine's process a runner has none.
    import uvicorn  # noqa: PLC0415

    default_host, default_port, path = _default_address()
    host, port = host or default_host, default_port if port is None else port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (while ")[0]  # Python repeats the address there
        remedy = f"stop what listens there, or name another port in {URL_VARIABLE}"
        raise OSError(error.errno, f"the runner cannot listen on {host} port {port}: {reason}; {remedy}") from None
    shown = f"[{host}]" if family == socket.AF_INET6 else host
    url = f"http://{shown}:{listener.getsockname()[1]}{path}"

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            sys.stdout.write(f"runner listening on {url}\n")
            sys.stdout.flush()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            on_stop()
            await super().shutdown(sockets)

    config = uvicorn.Config(
        app, lifespan="off", access_log=False, log_level="warning", timeout_keep_alive=_KEEP_ALIVE_S
    )
    with listener, contextlib.suppress(KeyboardInterrupt):
        Server(config).run([listener])


def _default_address() -> tuple[str, int, str]:
    url = os.environ.get(URL_VARIABLE) or DEFAULT_URL
    try:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError("a runner serves plain http")
        port = 80 if parts.port is None else parts.port
    except ValueError as error:
        raise ValueError(f"{URL_VARIABLE} is {url!r}, no URL like {DEFAULT_URL}: {error}") from None
    return parts.hostname, port, parts.path or "/run"
