"""Connections that send a byte a second cost other callers nothing that they would notice."""

import http.client
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.end_to_end.processes import Api, Processes

pytestmark = pytest.mark.slow


class SlowCallers:
    """The program `slow_callers.py`, steered."""

    def __init__(self, api: Api, count: int) -> None:
        parts = urlsplit(api.url)
        program = Path(__file__).with_name("slow_callers.py")
        self._program = subprocess.Popen(
            [sys.executable, str(program), parts.hostname or "", str(parts.port), str(count)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip

    def turn(self, how: str) -> None:
        """All `on`, or all `off`; returns when they are."""
        assert self._say(how) == how

    def end(self) -> int:
        """How many connections the server has ended."""
        return int(self._say("end"))

    def _say(self, line: str) -> str:
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._program.stdin.write(f"{line}\n")
        self._program.stdin.flush()
        return self._program.stdout.readline().strip()

    def close(self) -> None:
        self._program.kill()
        self._program.communicate()


class Callers:
    """A caller with a connection that it keeps, and one that connects anew for each request; in turns."""

    def __init__(self, api: Api) -> None:
        parts = urlsplit(api.url)
        self._where = parts.hostname or "", parts.port
        self._path = parts.path
        self._kept = http.client.HTTPConnection(*self._where, timeout=30)

    def close(self) -> None:
        """Hang up."""
        self._kept.close()

    def window(self, seconds: float, kinds: tuple[bool, ...] = (True, False)) -> list[float]:
        """How long each request took, on the kept connection (True) and on new ones in turns."""
        took: list[float] = []
        ends_at = time.monotonic() + seconds
        while time.monotonic() < ends_at:
            for is_kept in kinds:
                began_at = time.monotonic()
                connection = self._kept if is_kept else http.client.HTTPConnection(*self._where, timeout=30)
                connection.request("GET", f"{self._path}/definitions")
                response = connection.getresponse()
                response.read()
                assert response.status == 200
                if not is_kept:
                    connection.close()
                took.append(time.monotonic() - began_at)
        return took


def p99(took: list[float]) -> float:
    return sorted(took)[len(took) * 99 // 100]


@pytest.fixture
def callers(api: Api) -> Iterator[Callers]:
    callers = Callers(api)
    yield callers
    callers.close()


@pytest.fixture
def slow(api: Api, request: pytest.FixtureRequest) -> Iterator[SlowCallers]:
    callers = SlowCallers(api, request.param)
    yield callers
    callers.close()


@pytest.fixture
def api(processes: Processes, request: pytest.FixtureRequest) -> Api:
    return processes.serve(processes.runner("python"), *getattr(request, "param", ()))


@pytest.mark.parametrize(
    "api", [["--head-timeout", "2", "--body-timeout", "2", "--max-connections", "40"]], indirect=True
)
@pytest.mark.parametrize("slow", [100], indirect=True)
def test_more_slow_connections_than_there_are_places_keep_nobody_out(
    api: Api, callers: Callers, slow: SlowCallers
) -> None:
    slow.turn("on")
    took = callers.window(4, kinds=(False,))  # an idle connection may be ended to make room
    while len(took) < 20:
        took += callers.window(1, kinds=(False,))
    # They come one after the other: who is kept out is so again and again, and a pause of the machine is one's.
    assert sorted(took)[len(took) * 9 // 10] < 1, took
    assert slow.end() > 100
    said = api.process.said()
    assert "all 40 connections are taken" in said
    assert "Traceback" not in said


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("slow", [500], indirect=True)
def test_beside_500_slow_connections_the_p99_of_others_is_within_twice(
    api: Api, callers: Callers, slow: SlowCallers
) -> None:
    callers.window(2)
    ratios = []
    for n in range(5):
        windows = {}
        for how in ("off", "on") if n % 2 == 0 else ("on", "off"):
            slow.turn(how)
            # Of five seconds the one in the middle: another program's burst is in one or two of them.
            windows[how] = statistics.median(p99(callers.window(1)) for _ in range(5))
        slow.turn("off")
        ratios.append(windows["on"] / windows["off"])
        print(f"p99 {windows['off'] * 1000:.2f} ms alone, {windows['on'] * 1000:.2f} ms beside 500 slow ones")  # noqa: T201
    assert statistics.median(ratios) <= 2, ratios
    assert "Traceback" not in api.process.said()
