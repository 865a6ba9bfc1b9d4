"""The owner's end of the link: the engine's ASGI application on a Unix socket, for standbys of the same user.

uvicorn's protocol does the HTTP. Its server is left out: it would take the process's signals, and its configuration
changes the loggers of the uvicorn that may be running the app all this is embedded in.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from pylon_workflows.ownership.socket_file import ListeningSocket, listen_at, peer_uid, remove

_log = logging.getLogger(__name__)

_KEEP_ALIVE_S = 75
"""Longer than a standby keeps a connection that it does not use, so that none is closed under a request."""

_LAST_ANSWERS_S = 1.0

_LOOK_S = 1.0

_ACCEPTING_ROUNDS = 3
"""So many rounds the event loop takes to accept who had connected and to make the connection. Where the server has been
closed in between, asyncio leaves the accepted socket to the garbage collector, with a ResourceWarning."""


class _QuietConfig(uvicorn.Config):
    """A configuration that leaves the process's loggers as they are."""

    def configure_logging(self) -> None:
        """Change nothing."""


class _OwnersProtocol(HttpToolsProtocol):
    """Serves this user and root, whoever else may have got hold of the socket, and logs no requests: standbys do.

    While `is_open` says so: the event loop makes a connection some rounds after it has accepted it.
    """

    def __init__(self, *arguments: Any, is_open: Callable[[], bool]) -> None:
        super().__init__(*arguments)
        self.access_log = False
        self._is_open = is_open

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn does
        """Begin, unless the peer is another user."""
        super().connection_made(transport)
        uid = peer_uid(transport.get_extra_info("socket").fileno())
        if uid not in (os.geteuid(), 0):
            _log.warning("user %s was refused on the owner's socket, which is for user %s", uid, os.geteuid())
            transport.abort()
        elif not self._is_open():
            transport.abort()


class _Door:
    """The listening socket at `path`. What removes it, as programs that tidy up do, does not shut the standbys out."""

    def __init__(self, path: Path, new_protocol: Callable[[], asyncio.Protocol]) -> None:
        self._path = path
        self._new_protocol = new_protocol
        self._made: ListeningSocket | None = None
        self.is_open = True
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen. Raises OSError."""
        made, former = listen_at(self._path), (self._made, self._server)
        self._made = made
        self._server = await asyncio.get_running_loop().create_unix_server(self._new_protocol, sock=made.listener)
        await _leave(*former)

    async def keep(self) -> None:
        """Listen anew whenever nothing is at the path; what is there may be another owner's."""
        while True:
            await asyncio.sleep(_LOOK_S)
            if not self._is_taken():
                with suppress(OSError):
                    await self.open()
                    _log.warning("%s was removed while the engine ran, and has been made anew", self._path)

    def _is_taken(self) -> bool:
        return os.path.lexists(self._path)

    async def close(self) -> None:
        """Take no more connections, also none that has been accepted and not been made; those that there are go on."""
        self.is_open = False
        await _leave(self._made, self._server)


async def _leave(made: ListeningSocket | None, server: asyncio.Server | None) -> None:
    if made is not None:
        remove(made)
    if server is not None:
        for _ in range(_ACCEPTING_ROUNDS):
            await asyncio.sleep(0)
        server.close()


@asynccontextmanager
async def served(app: ASGIApp, path: Path) -> AsyncIterator[None]:
    """Serve the application on a socket at `path` while the block runs, which holds the lock of the database.

    Afterwards nothing is at `path`, unless another owner's socket has come there.

    Raises:
        OSError: the folder takes no sockets.
    """
    config = _QuietConfig(
        app, lifespan="off", ws="none", proxy_headers=False, server_header=False, timeout_keep_alive=_KEEP_ALIVE_S
    )
    config.load()
    state = ServerState()
    door = _Door(path, lambda: _OwnersProtocol(config, state, {}, is_open=lambda: door.is_open))
    await door.open()
    keeping = asyncio.create_task(door.keep(), name=f"keep the owner's socket: {path.name}")
    try:
        yield
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])
        await door.close()
        for connection in list(state.connections):
            connection.shutdown()
        late = set(state.tasks)
        if late:
            _, late = await asyncio.wait(late, timeout=_LAST_ANSWERS_S)
        for connection in list(state.connections):
            connection.transport.abort()  # before what is late is cut off, which would answer 500
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
