"""For the test of many workers: an application that takes webhooks for the instances in its file."""

import os

from starlette.applications import Starlette
from starlette.routing import Mount

from pylon_workflows import WorkflowDefinition, WorkflowEngine, create_app
from pylon_workflows.hooks import HookSource, HookStart, StandardWebhooks, create_hooks_app

engine = WorkflowEngine(database=os.environ["WORKFLOWS_DATABASE"])
engine.register(WorkflowDefinition("onboarding"))
sources = [
    HookSource("by-id", StandardWebhooks(b"a secret of by-id"), instance="{order}"),
    HookSource("by-key", StandardWebhooks(b"a secret of by-key"), correlation="order:{order}"),
    HookSource(
        "starting",
        StandardWebhooks(b"a secret of starting"),
        correlation="{order}",
        start=HookStart(workflow="onboarding"),
    ),
]
app = Starlette(
    lifespan=engine.lifespan,
    routes=[Mount("/hooks", create_hooks_app(engine, sources)), Mount("/api/workflows", create_app(engine))],
)
