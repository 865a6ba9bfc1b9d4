"""A program that keeps many connections of which each sends a byte a second, for `test_slow_connections`.

`python slow_callers.py HOST PORT COUNT` reads lines: `on` connects all, `off` closes all; it says so when it has. Half
of them are slow with a head, half with a body. One that is ended is counted and made anew soon after. `end` ends it,
and it prints how many were ended.
"""

import asyncio
import contextlib
import sys

HEAD = b"GET /api/workflows/healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nx-slow: " + b"z" * 100_000
BODY = b"POST /api/workflows/start HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 100000\r\n\r\n"

AGAIN_S = 0.5


class Callers:
    def __init__(self, host: str, port: int, count: int) -> None:
        self._where = host, port
        self._count = count
        self._ready = asyncio.Event()
        self._connected = 0
        self._tasks: list[asyncio.Task[None]] = []
        self.ended = 0

    async def on(self) -> None:
        self._connected = 0
        self._ready.clear()
        self._tasks = [asyncio.create_task(self._call(n)) for n in range(self._count)]
        await self._ready.wait()

    async def off(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _call(self, number: int) -> None:
        is_first = True
        await asyncio.sleep(number / self._count)  # bytes come all through the second, not all at once
        while True:
            reader, writer = await asyncio.open_connection(*self._where)
            try:
                if is_first:
                    is_first = False
                    self._connected += 1
                    if self._connected == self._count:
                        self._ready.set()
                await self._drip(number, reader, writer)
            except OSError:
                pass
            finally:
                writer.close()
            self.ended += 1
            await asyncio.sleep(AGAIN_S)

    async def _drip(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sent = HEAD
        if number % 2:
            writer.write(BODY)
            sent = b"z" * 100_000
        for place in range(len(sent)):
            writer.write(sent[place : place + 1])
            await writer.drain()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    while await reader.read(65536):  # its answer, until it hangs up
                        pass
                    return


async def main() -> None:
    callers = Callers(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    while (line := (await asyncio.to_thread(sys.stdin.readline)).strip()) in ("on", "off"):
        await (callers.on() if line == "on" else callers.off())
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{callers.ended}\n")
    sys.stdout.flush()


asyncio.run(main())
