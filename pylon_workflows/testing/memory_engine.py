"""An engine that keeps its instances in memory."""

from collections.abc import Mapping

from pylon_workflows.ports import Runner, Store
from pylon_workflows.settings import EngineSettings
from pylon_workflows.store.memory import MemoryStore
from pylon_workflows.testing.fake_clock import FakeClock
from pylon_workflows.workflow_engine import WorkflowEngine

HOOKS_IN_TESTS = "https://hooks.test"
"""Where hook URLs lead in tests, which is nowhere: a call is `engine.send_event(instance_id, "hook:<name>", data)`."""


def engine_in_memory(
    runner: Runner | None,
    *,
    runners: Mapping[str, Runner] | None = None,
    clock: FakeClock | None = None,
    store: Store | None = None,
    settings: EngineSettings | None = None,
) -> WorkflowEngine:
    """An engine that keeps its instances in memory, where tests are exact and quick.

    Full backoff instead of jitter, and without `settings` of your own no grace for turns in flight when it closes, and
    hook URLs that begin with HOOKS_IN_TESTS.
    A second engine on the same `store` is a restart.
    """
    return WorkflowEngine(
        runner=runner,
        runners=runners,
        store=MemoryStore() if store is None else store,
        clock=clock,
        settings=EngineSettings(shutdown_grace_s=0, hooks_url=HOOKS_IN_TESTS) if settings is None else settings,
        jitter=lambda: 1.0,
    )
