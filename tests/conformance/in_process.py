"""Runs a runner's coroutines on an event loop of their own, so that the checker can call it without a socket."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from runner_protocol.conformance.exchange import Call, Exchange, ExchangeError, Reply

from .reference import Front


class Loop:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def exchange_with(self, front: Front) -> Exchange:
        """Let the checker call this runner; what it raises is a connection that breaks."""

        def exchange(call: Call) -> Reply:
            try:
                return asyncio.run_coroutine_threadsafe(front.reply(call), self._loop).result(timeout=30)
            except Exception as error:
                raise ExchangeError(f"the runner died: {error!r}") from error

        return exchange

    def close(self) -> None:
        """Stop the loop and wait for its thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@contextmanager
def running_loop() -> Iterator[Loop]:
    """Give a loop and close it."""
    loop = Loop()
    try:
        yield loop
    finally:
        loop.close()
