from collections.abc import Iterator

import pytest

from .in_process import Loop, running_loop


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    with running_loop() as loop:
        yield loop
