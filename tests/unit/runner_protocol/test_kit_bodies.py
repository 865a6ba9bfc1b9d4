"""How the body of a step is called: beside the loop where it may block, and left behind without a trace."""

import asyncio
import gc
import threading
import warnings
from collections.abc import Coroutine
from typing import Any

import pytest

from runner_protocol.kit.step import call_body


async def echo(value: int) -> int:
    return value


async def test_a_function_may_give_a_coroutine_which_is_awaited() -> None:
    assert await call_body(lambda: echo(1), ()) == (1, None)


@pytest.mark.parametrize("is_made_after", [True, False], ids=["given-up-before-it-is-made", "given-up-after"])
async def test_a_coroutine_that_nobody_waits_for_any_more_is_closed(is_made_after: bool) -> None:
    began, may_end, ended = (threading.Event() for _ in range(3))
    made: list[Coroutine[Any, Any, int]] = []

    def body() -> Coroutine[Any, Any, int]:
        began.set()
        may_end.wait(10)
        made.append(echo(1))
        ended.set()
        return made[0]

    call = asyncio.create_task(call_body(body, ()))
    await asyncio.to_thread(began.wait, 10)
    if is_made_after:
        call.cancel()
        await asyncio.sleep(0)
    may_end.set()
    ended.wait(10)  # on the loop's own thread: the call must not go on in between
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.to_thread(closed, made[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made.clear()
        gc.collect()


def closed(coroutine: Coroutine[Any, Any, int]) -> None:
    """Wait until it is: the thread may close it a moment later."""
    while coroutine.cr_frame is not None:  # type: ignore[attr-defined]
        threading.Event().wait(0.001)
