"""Reading what a runner has answered and is large: in a thread, one at a time.

Python runs one thread at a time, so two would not be read sooner, and each takes many times its size while it is read.
"""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")
P = ParamSpec("P")

_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


async def read_large(read: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `read` makes of it, once the others of this event loop have been read. Raises what that raises."""
    async with _turns.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
        return await asyncio.to_thread(read, *args, **kwargs)
