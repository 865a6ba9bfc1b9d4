"""A file with a codec changes hands like any other: the successor opens what the killed owner has sealed."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from tests.end_to_end.processes import Processes, until

CANARY = "canary4711"

pytestmark = pytest.mark.slow


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    with Processes(tmp_path) as processes:
        yield processes


def test_a_standby_takes_over_what_the_killed_owner_has_encrypted(processes: Processes, tmp_path: Path) -> None:
    runner = processes.runner("python")
    codec = ("--codec", "examples.encryption.fernet_codec:codec")
    keys = {"ORDERS_KEYS": Fernet.generate_key().decode()}
    owner, standby = (processes.serve(runner, *codec, "--workflow", "onboarding", more=keys) for _ in range(2))
    waiting = standby.start("onboarding", {"user": CANARY, "pause": "10ms"})
    standby.until(waiting, "waiting_for_event")
    begun = standby.start("onboarding", {"user": CANARY, "pause": "10ms"})
    owner.process.kill()
    until(lambda: standby.http.get("/healthz").json().get("role") == "owner", "the standby has taken over")
    standby.until(begun, "waiting_for_event")
    for instance_id in (waiting, begun):
        standby.event(instance_id, "user_confirmed", {"by": CANARY})
        assert CANARY in str(standby.until(instance_id, "completed"))
    assert CANARY not in str([path.read_bytes() for path in tmp_path.glob("workflows.db*") if path.suffix != ".sock"])
