"""The owner's end of the link when it closes: nobody is left on a connection that no one serves."""

import asyncio
import contextlib
import socket

import pytest

from pylon_workflows.ownership.owner_server import served


async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


@pytest.mark.parametrize("rounds", range(8))
async def test_who_connects_while_it_closes_is_hung_up_on(tmp_path, rounds):
    path = tmp_path / "orders.db.sock"
    with socket.socket(socket.AF_UNIX) as caller:
        async with served(app, path):
            caller.connect(str(path))
            caller.setblocking(False)
            for _ in range(rounds):
                await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(5):
            with contextlib.suppress(ConnectionResetError):
                assert await loop.sock_recv(caller, 100) == b""


@pytest.mark.parametrize("rounds", range(8))
async def test_who_connects_in_the_middle_of_its_closing_is_not_left_to_the_garbage_collector(tmp_path, rounds):
    path = tmp_path / "orders.db.sock"
    loop = asyncio.get_running_loop()

    def connect_after(rounds):
        if rounds:
            loop.call_soon(connect_after, rounds - 1)
        else:
            with contextlib.suppress(OSError):  # it may be closed by then
                caller.connect(str(path))

    with socket.socket(socket.AF_UNIX) as caller:
        async with served(app, path):
            connect_after(rounds)
        for _ in range(8):
            await asyncio.sleep(0)
