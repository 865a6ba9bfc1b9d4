"""What comes from outside: events that are early, and signed webhooks."""

import hashlib
import hmac
import json

import httpx

from pylon_workflows import WorkflowDefinition
from pylon_workflows.hooks import GitHub, HookSource, HookStart, create_hooks_app
from pylon_workflows.testing import ScriptedRunner, engine_in_memory, wait_until
from runner_protocol.messages import Complete, WaitEvent

SECRET = "what GitHub signs with"
WAIT = WaitEvent(event="merged", correlation="pull:7")


def answer_of(request):
    """`deploy` waits until pull request 7 is merged; one that a webhook has started gives its input back."""
    if request.input:
        return Complete(output=request.input)
    return Complete(output="deployed") if request.current_step else WAIT


def an_engine():
    engine = engine_in_memory(ScriptedRunner(answer_of))
    engine.register(WorkflowDefinition("deploy"))
    return engine


async def deliver(engine, body, *, secret=SECRET, delivery="d-1", **options):
    """What GitHub sends, and what it is answered."""
    source = HookSource("github", GitHub(SECRET), correlation="pull:{number}", event="{action}", **options)
    text = json.dumps(body).encode()
    headers = {
        "x-hub-signature-256": "sha256=" + hmac.new(secret.encode(), text, hashlib.sha256).hexdigest(),
        "x-github-delivery": delivery,
    }
    transport = httpx.ASGITransport(create_hooks_app(engine, [source]))
    async with httpx.AsyncClient(transport=transport, base_url="https://ci.example") as sender:
        return await sender.post("/github", content=text, headers=headers)


async def test_an_event_under_a_key_that_comes_early_is_kept():
    """For 7 days, until somebody waits with the key; one event resumes one instance."""
    async with an_engine() as engine:
        await engine.publish("merged", correlation="pull:7", event_id="e-1")
        assert (await engine.publish("merged", correlation="pull:7", event_id="e-1")).is_duplicate
        assert await engine.result(await engine.start("deploy")) == "deployed"


async def test_a_webhook_is_verified_stored_and_acknowledged():
    """What it says resumes the instance; sent again, it is acknowledged and counts no more."""
    async with an_engine() as engine:
        instance_id = await engine.start("deploy")
        answer = await deliver(engine, {"action": "merged", "number": 7})
        assert (answer.status_code, answer.json()) == (200, {"applied": True, "duplicate": False})
        assert await engine.result(instance_id) == "deployed"
        assert (await deliver(engine, {"action": "merged", "number": 7})).json()["duplicate"]


async def test_a_webhook_that_somebody_else_has_signed_is_refused():
    """Nothing of it is read."""
    async with an_engine() as engine:
        assert (await deliver(engine, {"action": "merged", "number": 7}, secret="a guess")).status_code == 401


async def test_a_webhook_that_nobody_can_use_is_acknowledged_with_the_reason():
    """Its sender would send it again for days otherwise."""
    async with an_engine() as engine:
        answer = await deliver(engine, {"action": "labeled", "number": 7}, events=["merged"])
        assert (answer.status_code, answer.json()["reason"]) == (200, "unmapped-event")


async def test_a_webhook_starts_what_shall_handle_it_when_nobody_waits():
    """Once for each delivery; the input is what was delivered."""
    async with an_engine() as engine:
        starting = HookStart(workflow="deploy", id="deploy-{number}")
        for _ in range(2):
            await deliver(engine, {"action": "opened", "number": 8}, start=starting)
        await wait_until(lambda: _is_there(engine, "deploy-8"))
        assert await engine.result("deploy-8") == {"action": "opened", "number": 8}
        assert len(await engine.list()) == 1


async def _is_there(engine, instance_id):
    return any(each.id == instance_id for each in await engine.list())
