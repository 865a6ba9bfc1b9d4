"""Large answers are read beside the event loop, one at a time."""

import asyncio
import threading

import pytest

from pylon_workflows.runner.large_answers import read_large


class Reader:
    """Reads for as long as it takes another to begin, were it let."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []
        self.beside = threading.Event()
        self._reading = 0

    def read(self, number: int) -> int:
        self.threads.append(threading.current_thread())
        self._reading += 1
        if self._reading > 1:
            self.beside.set()
        self.beside.wait(0.05)
        self._reading -= 1
        if number == 1:
            raise ValueError("the second is none")
        return number


async def read_three(reader: Reader) -> list[int | BaseException]:
    return await asyncio.gather(*(read_large(reader.read, number) for number in range(3)), return_exceptions=True)


def test_large_answers_are_read_one_at_a_time_in_each_loop() -> None:
    for _ in range(2):
        reader = Reader()
        first, second, third = asyncio.run(read_three(reader))
        assert (first, str(second), third) == (0, "the second is none", 2)
        assert not reader.beside.is_set(), "two were read at once"
        assert threading.main_thread() not in reader.threads


async def test_one_that_is_no_longer_waited_for_lets_the_next_be_read() -> None:
    started, go = threading.Event(), threading.Event()

    def slow() -> None:
        started.set()
        go.wait(10)

    reading = asyncio.create_task(read_large(slow))
    waiting = asyncio.create_task(read_large(lambda: "never"))
    await asyncio.to_thread(started.wait, 10)
    waiting.cancel()
    last = asyncio.create_task(read_large(lambda: "read"))
    go.set()
    await reading
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await last == "read"
