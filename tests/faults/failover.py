"""For the failover test: workers of a real server on one file, clients that never give up, a killer, a reckoning."""

import json
import os
import signal
import sqlite3
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from tests.end_to_end.processes import ROOT, Process, Processes, until

WORKERS = 3
CLIENTS = 6
KILL_TAKES_S = 0.01
"""So long after it was killed a process may still seem to have asked; a request tells milliseconds."""

APP = ROOT / "examples" / "fastapi_app"
COMMANDS = {
    "uvicorn": ("-m", "uvicorn", "--app-dir", str(APP), "--workers", str(WORKERS), "app:app"),
    "gunicorn": ("-m", "gunicorn", "--chdir", str(APP), "-k", "uvicorn_worker.UvicornWorker", "-w", str(WORKERS)),
}
COMMANDS["gunicorn --preload"] = (*COMMANDS["gunicorn"], "--preload")


class Call(NamedTuple):
    """A change that was acknowledged; times are of the monotonic clock, which all processes share."""

    sent_at: float
    done_at: float


class Failure(NamedTuple):
    """A try that brought no acknowledgement."""

    at: float
    why: str


class Takeover(NamedTuple):
    """A kill of the owner: just before it, just after it, and when another process had the lock."""

    killed_at: float
    dead_at: float
    locked_at: float


class Server:
    """Workers of uvicorn or gunicorn, each with an engine on one file."""

    def __init__(self, processes: Processes, kind: str, runner: Process) -> None:
        port = processes.port()
        self.database = processes.folder / "workflows.db"
        address = ("--port", str(port)) if kind == "uvicorn" else ("-b", f"127.0.0.1:{port}", "app:app")
        settings = {"WORKFLOWS_DATABASE": str(self.database), "PYLON_WORKFLOW_RUNNER_URL": runner.url()}
        self.process = processes.start("server", sys.executable, *COMMANDS[kind], *address, more=settings)
        self.url = f"http://127.0.0.1:{port}/api/workflows"
        self._started = WORKERS
        self.until_all_are_up()

    def until_all_are_up(self) -> None:
        told = "Application startup complete"
        until(lambda: self.process.said().count(told) >= self._started, f"{self._started} workers have started")

    def owner(self) -> int:
        """The process that has the lock, as it wrote into the lock file."""

        def found() -> int:
            try:
                return int(json.loads(Path(f"{self.database}.lock").read_text())["pid"])
            except ValueError:  # it is just being written
                return 0

        return until(found, "the lock file names a process")

    def kill_owner(self) -> Takeover:
        """kill -9 of whichever worker is the owner; returns when another one has the lock."""
        owner = self.owner()
        killed_at = time.monotonic()
        os.kill(owner, signal.SIGKILL)
        dead_at = time.monotonic()
        self._started += 1
        until(lambda: self.owner() != owner, "another process has the lock")
        return Takeover(killed_at, dead_at, time.monotonic())


class Clients:
    """Threads that start instances and send each its event. What has an id is sent again until it is acknowledged."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._is_over = threading.Event()
        self.calls: list[Call] = []
        self.failures: list[Failure] = []
        self.started: set[str] = set()
        self.sent: set[str] = set()
        self.anonymous: set[str] = set()
        self.errors: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(CLIENTS)]

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, client: int) -> None:
        try:
            with httpx.Client(base_url=self._url, trust_env=False, timeout=30) as http:
                number = 0
                while not self._is_over.is_set():
                    number += 1
                    self._one_instance(http, f"{client}-{number}", has_ids=number % 2 == 0)
        except BaseException as error:
            self.errors.append(error)

    def _one_instance(self, http: httpx.Client, mark: str, *, has_ids: bool) -> None:
        body: dict[str, Any] = {"name": "onboarding", "input": {"mark": mark}}
        if has_ids:
            body["id"] = mark
        answer = self._tell(http, "/start", body, is_repeatable=has_ids)
        if answer is None:
            self.anonymous.add(mark)
            return
        instance_id = answer["id"]
        self.started.add(instance_id)
        event: dict[str, Any] = {"event": "go", "data": {"mark": mark}}
        if has_ids:
            event["event_id"] = mark
        if self._tell(http, f"/{instance_id}/event", event, is_repeatable=has_ids) is None:
            # Whether that one was taken is unknown: this one is, so that the instance ends.
            self._tell(http, f"/{instance_id}/event", {**event, "data": {"mark": "again"}, "event_id": "again"})
        self.sent.add(instance_id)

    def _tell(self, http: httpx.Client, path: str, body: Any, *, is_repeatable: bool = True) -> Any:
        """The answer; None when a call that must not be made twice was cut off. A 503 says that nothing was done."""
        while True:
            sent_at = time.monotonic()
            try:
                answer = http.post(path, json=body)
            except httpx.TransportError as error:
                self.failures.append(Failure(time.monotonic(), type(error).__name__))
                if not is_repeatable and not isinstance(error, httpx.ConnectError):
                    return None
            else:
                if answer.status_code in (200, 201):
                    self.calls.append(Call(sent_at, time.monotonic()))
                    return answer.json()
                assert answer.status_code == 503, answer.text
                self.failures.append(Failure(time.monotonic(), answer.json()["code"]))
            time.sleep(0.005)


class Reckoning:
    """What the clients saw and what the file and the runner's log hold, after `takeovers`."""

    def __init__(self, clients: Clients, takeovers: list[Takeover], database: Path, log: Path) -> None:
        self._clients = clients
        self._takeovers = takeovers
        self._database = database
        self._log = log
        self.calls = sorted(clients.calls, key=lambda call: call.done_at)

    def unfinished(self) -> set[str]:
        """Acknowledged starts that are not there, or have not completed."""
        return self._clients.sent - {
            row[0] for row in self._rows("SELECT id FROM instances WHERE status = 'completed'")
        }

    def doubles(self) -> list[Any]:
        """Starts and events without an id that are in the file twice: a forwarded one was made again under another."""
        starts = "SELECT payload, count(*) FROM history WHERE type = 'InstanceStarted' GROUP BY 1 HAVING count(*) > 1"
        events = """SELECT instance, payload, count(*) FROM history WHERE type = 'EventReceived'
                    GROUP BY 1, 2 HAVING count(*) > 1"""
        return [*self._rows(starts), *self._rows(events)]

    def lost_events(self) -> set[str]:
        """Instances whose acknowledged event the file does not hold."""
        with_event = """SELECT id FROM instances WHERE EXISTS
            (SELECT 1 FROM history WHERE history.instance = instances.key AND type = 'EventReceived')"""
        return self._clients.sent - {row[0] for row in self._rows(with_event)}

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{self._database}?mode=ro", uri=True)) as connection:
            return connection.execute(query).fetchall()

    def takeover_times(self) -> list[float]:
        """From each kill to the first acknowledgement of a change that was sent after it."""
        return [
            min(call.done_at for call in self.calls if call.sent_at > takeover.killed_at) - takeover.killed_at
            for takeover in self._takeovers
        ]

    def longest_gap(self) -> tuple[float, str]:
        """The longest time without an acknowledgement, and what it was spent on."""
        times = [call.done_at for call in self.calls]
        length, begin, end = max((after - before, before, after) for before, after in pairwise(times))
        why = Counter(failure.why for failure in self._clients.failures if begin <= failure.at <= end)
        spent = [f"{count} x {name}" for name, count in why.items()]
        for takeover in self._takeovers:
            if begin <= takeover.locked_at <= end:
                until_lock = takeover.locked_at - takeover.killed_at
                spent.append(f"{until_lock * 1000:.0f} ms until a standby saw that the lock was free")
                spent.append(f"{(end - takeover.locked_at) * 1000:.0f} ms until it had opened the engine and answered")
        return length, ", ".join(spent) or "no kill: the machine was busy"

    def repeated(self) -> tuple[int, list[Any]]:
        """How many executions of steps beyond the first, and those that no kill explains."""
        executions: dict[tuple[str, str, int], list[float]] = defaultdict(list)
        for line in map(json.loads, self._log.read_text().splitlines()):
            executions[line["id"], line["key"], line["attempt"]].append(line["asked_at"])
        again, unexplained = 0, []
        for step, times in executions.items():
            for before, after in pairwise(times):
                again += 1
                if not any(
                    before - KILL_TAKES_S <= kill.dead_at and kill.killed_at < after for kill in self._takeovers
                ):
                    unexplained.append((step, before, after))
        return again, unexplained


def eventually_none(find: Callable[[], Any], what: str) -> None:
    """Wait until nothing is found any more."""
    until(lambda: not find(), what, within_s=60)
