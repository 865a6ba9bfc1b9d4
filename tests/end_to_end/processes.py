"""Real processes for tests: started with ports that the system chooses, watched from outside, stopped in the end."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx
import pytest

from tests.conformance.run_all import is_node_there

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
COMMAND = str(BIN / "pylon-workflows")
KIT = ROOT / "runner_protocol" / "typescript"
ONBOARDING = ROOT / "examples" / "onboarding"
PLAIN_NODE = ROOT / "examples" / "plain_node" / "runner.mjs"

WITHIN_S = 30.0
_LISTENING = re.compile(rb"(?:listening|running) on (http://\S+)")
_OURS = ("PYLON_WORKFLOW", "ONBOARDING")

T = TypeVar("T")


def until(condition: Callable[[], T | None], what: str, *, within_s: float = WITHIN_S) -> T:
    """The condition's first true value; an AssertionError that says `what` when it has none in time."""
    deadline = time.monotonic() + within_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}"
        time.sleep(0.01)


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's, without what would steer ours, and with `more`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    return {**clean, "PYTHONUNBUFFERED": "1", **(more or {})}


class Process:
    """A running program; what it prints goes to the file `output`."""

    def __init__(self, command: Sequence[str], output: Path, more: Mapping[str, str], folder: Path) -> None:
        self.output = output
        self._began_at = output.stat().st_size if output.exists() else 0
        with output.open("ab") as file:
            self._program = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment(more), cwd=folder
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._program.pid

    @property
    def status(self) -> int | None:
        """Its exit status, None while it runs."""
        return self._program.poll()

    def said(self) -> str:
        """All that it has printed."""
        return self.output.read_bytes()[self._began_at :].decode(errors="replace")

    def url(self) -> str:
        """The address in its line `listening on URL`, once it has printed that."""

        def found() -> str | None:
            match = _LISTENING.search(self.output.read_bytes(), self._began_at)
            assert match or self.status is None, f"ended with {self.status} before it listened:\n{self.said()}"
            return match[1].decode() if match else None

        return until(found, f"{self.output.name} listens")

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._program.send_signal(number)

    def ended(self, *, within_s: float = WITHIN_S) -> int:
        """Its exit status, once it has ended."""
        return self._program.wait(within_s)

    def kill(self) -> None:
        """`kill -9`; returns when it is dead."""
        self._program.kill()
        self._program.wait()

    def stop(self) -> int:
        """SIGTERM; returns its exit status."""
        self.signal(signal.SIGTERM)
        return self.ended()


class Api:
    """The HTTP API of a `serve`, or of an app that mounts it."""

    def __init__(self, url: str, process: Process) -> None:
        self.url = url
        self.process = process
        self.http = httpx.Client(base_url=url, trust_env=False, timeout=20)

    def start(self, name: str, input: Any, **more: Any) -> str:
        """Start an instance; its id."""
        answer = self.http.post("/start", json={"name": name, "input": input, **more})
        assert answer.status_code in (200, 201), answer.text
        return str(answer.json()["id"])

    def event(self, instance_id: str, event: str, data: Any, event_id: str | None = None) -> bool:
        """Send an event; whether it had been accepted before."""
        answer = self.http.post(f"/{instance_id}/event", json={"event": event, "data": data, "event_id": event_id})
        assert answer.status_code == 200, answer.text
        return bool(answer.json()["duplicate"])

    def get(self, instance_id: str) -> dict[str, Any]:
        """The instance."""
        answer = self.http.get(f"/{instance_id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def history(self, instance_id: str) -> list[dict[str, Any]]:
        """Its transitions."""
        answer = self.http.get(f"/{instance_id}/history")
        assert answer.status_code == 200, answer.text
        return list(answer.json())

    def until(self, instance_id: str, status: str, *, within_s: float = WITHIN_S) -> dict[str, Any]:
        """The instance, once it has this status."""
        seen: dict[str, Any] = {}

        def reached() -> bool:
            seen.update(self.get(instance_id))
            return bool(seen["status"] == status)

        try:
            until(reached, f"{instance_id} is {status}", within_s=within_s)
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {seen}") from None
        return seen


class Processes:
    """Starts programs and stops them all in the end: `with Processes(tmp_path) as processes`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._started: list[Process] = []
        self._apis: list[Api] = []
        self._held: list[socket.socket] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for api in self._apis:
            api.http.close()
        for process in reversed(self._started):
            if process.status is None:
                process.signal(signal.SIGTERM)
        for process in reversed(self._started):
            try:
                process.ended(within_s=10)
            except subprocess.TimeoutExpired:
                process.kill()
            sys.stdout.write(f"--- {process.output.name}\n{process.said()[-4000:]}")
        for held in self._held:
            held.close()

    def port(self) -> int:
        """A port for a program that cannot be told to take a free one, which nobody else is given until the end.

        On Linux a socket that does not listen holds it; a program that sets SO_REUSEADDR, as servers do, may bind it.
        """
        held = socket.socket()
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        port = int(held.getsockname()[1])
        if sys.platform == "linux":
            self._held.append(held)
        else:
            held.close()
        return port

    def start(self, name: str, *command: str, more: Mapping[str, str] | None = None, folder: Path = ROOT) -> Process:
        """Start a program; `name` is that of the file with its output."""
        process = Process(command, self.folder / f"{name}.out", more or {}, folder)
        self._started.append(process)
        return process

    def runner(self, kit: str, *arguments: str, port: str = "0") -> Process:
        """Start the onboarding example's runner with this kit, or the plain one."""
        command = {
            "python": (sys.executable, str(ONBOARDING / "runner.py")),
            "typescript": ("node", str(ONBOARDING / "dist" / "runner.js")),
            "plain": ("node", str(PLAIN_NODE)),
        }[kit]
        return self.start(f"{kit}_runner", *command, "--port", port, *arguments)

    def serve(
        self,
        runner: Process,
        *arguments: str,
        database: str = "workflows.db",
        more: Mapping[str, str] | None = None,
    ) -> Api:
        """Start `pylon-workflows serve` on a file of this folder; its API, once it listens."""
        command = (COMMAND, "serve", "--runner", runner.url(), "--db", str(self.folder / database), "--port", "0")
        process = self.start("serve", *command, *arguments, more=more)
        return self.api(process.url(), process)

    def api(self, url: str, process: Process) -> Api:
        """An API whose connections are closed in the end."""
        api = Api(url, process)
        self._apis.append(api)
        return api


def run(*command: str, more: Mapping[str, str] | None = None, folder: Path = ROOT, within_s: float = 60.0) -> Any:
    """Run a program to its end, whatever its exit status."""
    return subprocess.run(
        command, capture_output=True, text=True, timeout=within_s, check=False, env=environment(more), cwd=folder,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


def need_node() -> None:
    """Skip the test where there is no Node 20; where CI is set, fail it."""
    if not is_node_there():
        reason = "Node 20 or later is not on the PATH"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


def need_typescript() -> None:
    """As `need_node`, and the onboarding example is built, as `make typescript` does."""
    need_node()
    for folder, built in ((KIT, "index.js"), (ONBOARDING, "runner.js")):
        if not (folder / "dist" / built).exists():
            for command in (("npm", "install", "--silent", "--no-audit", "--no-fund"), ("npm", "run", "build")):
                done = run(*command, folder=folder, within_s=300)
                assert done.returncode == 0, done.stdout + done.stderr
