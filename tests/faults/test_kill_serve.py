"""`kill -9` of `serve` under load, again and again: what was acknowledged is there, what was recorded never runs again.

KILLS=20 kills it twenty times; `make test` three times. Each server has a runner of its own, which lives on after its
death and notes each step body that it really runs: whose a step was is then no matter of when it came out of the
runner's queue. The file is read at each death, so that what "recorded" means is not the engine's own word.
"""

import json
import os
import random
import shutil
import sqlite3
import sys
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.conformance.run_all import is_node_there
from tests.end_to_end.processes import Api, Process, Processes, need_typescript, until

KILLS = int(os.environ.get("KILLS") or 3)
AT_A_TIME = 40

Step = tuple[str, str, int]
"""An instance's id, a step's key, the number of the attempt."""


class Log:
    """The runner's lines, one for each step body that began."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def length(self) -> int:
        return self.path.read_bytes().count(b"\n") if self.path.exists() else 0

    def steps(self) -> list[Step]:
        lines = map(json.loads, self.path.read_text().splitlines() if self.path.exists() else [])
        return [(line["workflow_id"], line["key"], line["attempt"]) for line in lines]


class Load:
    """What the callers of the API do; each call that is cut off is made again, the same, after the restart."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._calls = 0
        self.inputs: dict[str, dict[str, object]] = {}
        self.started: set[str] = set()
        self.sent: set[str] = set()
        self.unfinished: list[str] = []
        self.seen: set[Step] = set()

    def call(self, api: Api) -> None:
        """Make one call: a start, an event or a look."""
        unsent = [instance_id for instance_id in self.unfinished if instance_id not in self.sent]
        if cut_off := self.inputs.keys() - self.started:
            self._start(api, cut_off.pop())
        elif len(self.unfinished) < AT_A_TIME:
            instance_id = f"user-{len(self.inputs)}"
            is_flaky = self._chance.random() < 0.25
            self.inputs[instance_id] = {"user": instance_id, "flaky": is_flaky, "pause": "20ms"}
            self._start(api, instance_id)
        elif unsent and self._chance.random() < 0.5:
            self._send(api, self._chance.choice(unsent))
        else:
            self.look(api, self._chance.choice(self.unfinished))

    def _start(self, api: Api, instance_id: str) -> None:
        api.start("onboarding", self.inputs[instance_id], id=instance_id)
        self.started.add(instance_id)
        self.unfinished.append(instance_id)

    def _send(self, api: Api, instance_id: str) -> None:
        api.event(instance_id, "user_confirmed", {"for": instance_id}, event_id="msg-1")
        self.sent.add(instance_id)

    def look(self, api: Api, instance_id: str) -> None:
        """Remember what steps a GET shows as recorded."""
        instance = api.get(instance_id)
        self.seen.update(attempts(instance_id, [(step["key"], step["status"]) for step in instance["steps"]]))
        if instance["status"] == "completed":
            self.unfinished.remove(instance_id)

    def check_acknowledged(self, api: Api) -> None:
        """Each start and event that was acknowledged is there: the latter once."""
        for instance_id in self.started:
            received = [entry for entry in api.history(instance_id) if entry["type"] == "event_received"]
            assert len(received) <= 1, "an event was taken twice"
            assert instance_id not in self.sent or received, "an acknowledged event is lost"

    def finish(self, api: Api) -> None:
        """Send what is still to be sent, and wait for the end of every instance."""
        while self.inputs.keys() - self.started:
            self.call(api)
        for instance_id in self.inputs.keys() - self.sent:
            self._send(api, instance_id)
        for instance_id in list(self.unfinished):
            api.until(instance_id, "completed", within_s=60)
            self.look(api, instance_id)


def attempts(instance_id: str, records: list[tuple[str, str]]) -> list[Step]:
    """The step attempts among records, in order, numbered."""
    failures: Counter[str] = Counter()
    found = []
    for key, status in records:
        if not key.startswith(("sleep", "event:")):
            found.append((instance_id, key, failures[key] + 1))
            failures[key] += status == "failed"
    return found


def recorded_in(database: Path, folder: Path) -> set[Step]:
    """What the file holds that a dead server left, read from a copy so that the file itself stays as it is."""
    copy = folder / "copy.db"
    for suffix in ("", "-wal"):
        if Path(f"{database}{suffix}").exists():
            shutil.copyfile(f"{database}{suffix}", f"{copy}{suffix}")
    query = """
        SELECT id, json_extract(body, '$.key'), iif(type = 'StepSucceeded', 'completed', 'failed')
        FROM history JOIN instances ON instances.key = history.instance
        WHERE type IN ('StepSucceeded', 'AttemptFailed', 'StepFailed') ORDER BY instance, history.revision"""
    records: dict[str, list[tuple[str, str]]] = {}
    with closing(sqlite3.connect(copy)) as connection:
        for instance_id, key, status in connection.execute(query):
            records.setdefault(instance_id, []).append((key, status))
    Path(f"{copy}-wal").unlink(missing_ok=True)
    return {step for instance_id, found in records.items() for step in attempts(instance_id, found)}


def kill_after(process: Process, log: Log, lines: int) -> threading.Thread:
    """A thread that kills the process as soon as the log has so many lines."""

    def run() -> None:
        try:
            until(lambda: log.length() >= lines, f"{lines} steps have begun", within_s=60)
        finally:
            process.kill()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


class Reckoning:
    """What ran for each server, and what the file held when it died; the last one lives."""

    def __init__(self, ran: list[list[Step]], recorded: list[set[Step]]) -> None:
        self._ran = ran
        self._recorded = recorded

    def recorded_steps_run_twice(self) -> list[Step]:
        """Steps that ran for a server although the file held their result when an earlier one died."""
        deaths = enumerate(self._recorded, 1)
        return [step for number, held in deaths for ran in self._ran[number:] for step in ran if step in held]

    def run_again(self) -> int:
        """How many executions there were beyond the first of each step: never two for one server."""
        for ran in self._ran:
            twice = [step for step, count in Counter(ran).items() if count > 1]
            assert not twice, f"{twice} ran twice with no kill in between"
        return sum(map(len, self._ran)) - len(set().union(*self._ran))

    def check_order(self) -> None:
        """An answer may be steps ahead of its commits; those run again one after the other, from the first of them."""
        before: dict[Step, None] = {}
        for ran, recorded, then in zip(self._ran, self._recorded, self._ran[1:], strict=False):
            before |= dict.fromkeys(ran)
            repeated: dict[str, list[Step]] = {}
            for step in then:
                if step in before:
                    repeated.setdefault(step[0], []).append(step)
            for instance_id, steps in repeated.items():
                lost = [step for step in before if step[0] == instance_id and step not in recorded]
                assert steps == lost[: len(steps)], f"{instance_id}: {lost} were cut off, and {steps} ran again"


@pytest.mark.slow
@pytest.mark.timeout(90 + 20 * KILLS)
def test_no_kill_loses_what_was_acknowledged_or_runs_a_recorded_step_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kit = "typescript" if is_node_there() or os.environ.get("CI") else "python"
    if kit == "typescript":
        need_typescript()
    seed = int(os.environ.get("SEED") or random.randrange(10**6))
    chance = random.Random(seed)
    began = time.monotonic()
    load = Load(chance)
    logs: list[Log] = []
    runners: list[Process] = []
    recorded: list[set[Step]] = []
    with Processes(tmp_path) as processes:

        def serve() -> Api:
            logs.append(Log(tmp_path / f"steps-{len(logs)}.log"))
            runners.append(processes.runner(kit, "--log", str(logs[-1].path)))
            if len(runners) > 2:  # the last dead server's lives on; of twenty more the machine has nothing
                runners[-3].stop()
            return processes.serve(runners[-1], "--workflow", "onboarding:3")

        api = serve()
        for _ in range(KILLS):
            killer = kill_after(api.process, logs[-1], chance.randint(1, 100))
            try:
                while True:
                    load.call(api)
            except httpx.TransportError:
                killer.join()
            assert load.unfinished, f"seed {seed}: the kill hit nothing"
            recorded.append(recorded_in(tmp_path / "workflows.db", tmp_path))
            assert load.seen <= recorded[-1], f"seed {seed}: a GET showed what was not durable"
            api = serve()
            load.check_acknowledged(api)
        load.finish(api)
        load.check_acknowledged(api)
        for instance_id in load.inputs:
            assert api.get(instance_id)["output"]["confirmation"] == {"for": instance_id}
    ran = [log.steps() for log in logs]
    reckoning = Reckoning(ran, recorded)
    twice = reckoning.recorded_steps_run_twice()
    again = reckoning.run_again()
    with capsys.disabled():
        sys.stdout.write(
            f"\nkill -9 of serve, {kit} runner, seed {seed}: {KILLS} kills, {len(load.inputs)} instances completed, "
            f"{sum(map(len, ran))} steps executed, {again} of them again (in flight at a kill), "
            f"recorded steps run twice: {len(twice)}; {time.monotonic() - began:.1f} s\n"
        )
    assert not twice, f"seed {seed}"
    reckoning.check_order()
    flaky = sum(given["flaky"] is True for given in load.inputs.values())
    assert len(set().union(*ran)) == 3 * len(load.inputs) + flaky, "a step never ran, or had an attempt too many"
