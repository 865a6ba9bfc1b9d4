"""A process that is killed in the middle of its work loses nothing that it had been told is stored (P1)."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pylon_workflows.core.evolution import replay
from pylon_workflows.core.transitions import StepSucceeded
from pylon_workflows.store.sqlite import SqliteStore

ROOT = Path(__file__).parents[3]

WRITER = """
import asyncio, os, sys
from pylon_workflows.store.sqlite import SqliteStore
from tests.contracts.store_contract import after, new_instance, succeeded

def acknowledge(id, revision):
    os.write(1, f"{id} {revision}\\n".encode())

async def drive(store, id):
    instance = new_instance(id)
    assert await store.create(instance) is None
    acknowledge(id, 1)
    while True:
        step = succeeded(instance.current_step)
        instance = after(instance, step)
        await store.append(instance, [step])
        acknowledge(id, instance.revision)

async def main():
    store = SqliteStore(sys.argv[1])
    await store.open()
    round = sys.argv[2]
    await asyncio.gather(*(drive(store, f"wf_{round}_{number}") for number in range(20)))

asyncio.run(main())
"""


def heard_until_killed(path, round_number, *, lines):
    """All that a writer said, which is killed when it has said so many lines."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(round_number)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as writer:
        heard = [writer.stdout.readline() for _ in range(lines)]
        writer.send_signal(signal.SIGKILL)
        heard += writer.stdout.readlines()
    assert writer.returncode == -signal.SIGKILL
    return heard


@pytest.mark.slow
async def test_what_was_acknowledged_before_a_kill_is_there_after_it(tmp_path):
    path = tmp_path / "workflows.db"
    acknowledged = {}
    for round_number in range(5):
        for line in heard_until_killed(path, round_number, lines=100 * (round_number + 1)):
            instance_id, revision = line.split()
            acknowledged[instance_id] = max(int(revision), acknowledged.get(instance_id, 0))
    assert len(acknowledged) == 100
    store = SqliteStore(path)
    await store.open()
    try:
        found = await store.histories(list(acknowledged))
        for instance_id, revision in acknowledged.items():
            assert len(found[instance_id]) >= revision
            assert isinstance(found[instance_id][-1], StepSucceeded) or revision == 1
            summary = await store.summary(instance_id)
            state = replay(found[instance_id])
            assert (summary.revision, summary.current_step) == (state.revision, state.current_step)
    finally:
        await asyncio.shield(store.close())
