"""For tests, the users' and ours: time that the test moves, a runner that says what the test wrote, nothing on disk."""

from pylon_workflows.store.memory import MemoryStore
from pylon_workflows.testing.fake_clock import FakeClock
from pylon_workflows.testing.memory_engine import engine_in_memory
from pylon_workflows.testing.replayed_case import ReplayedCase, replay_case, replay_history
from pylon_workflows.testing.scripted_runner import ScriptedRunner, script
from pylon_workflows.testing.waiting import wait_for_status, wait_until
from pylon_workflows.testing.workflow_tester import StillWaitingError, WorkflowTester

__all__ = [
    "FakeClock",
    "MemoryStore",
    "ReplayedCase",
    "ScriptedRunner",
    "StillWaitingError",
    "WorkflowTester",
    "engine_in_memory",
    "replay_case",
    "replay_history",
    "script",
    "wait_for_status",
    "wait_until",
]
