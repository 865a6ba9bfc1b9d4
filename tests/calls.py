"""How much work something is, told by the function calls that it makes: the same on every machine."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Calls:
    """What has been counted so far."""

    count = 0


@contextmanager
def counted_calls() -> Iterator[Calls]:
    """Count the calls of functions, those of built-in ones too, that this thread makes within."""
    calls = Calls()

    def count(_frame: FrameType, event: str, _argument: Any) -> None:
        calls.count += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        yield calls
    finally:
        sys.setprofile(None)
