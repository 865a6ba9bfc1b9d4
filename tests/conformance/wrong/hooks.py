"""Runners that get the URLs of hooks wrong."""

from collections.abc import Awaitable
from typing import Any

from runner_protocol.hook_urls import hook_signature
from runner_protocol.kit.errors import NoHooksError

from ..asking import Asked
from ..reference import Turn
from . import fails


@fails("a-hook-url-is-signed")
class LeavesTheRunOut(Turn):
    """Gives each run of an instance the URLs of the first."""

    def hook_url(self, name: str) -> str:
        self.request = {**self.request, "run": 1}
        return super().hook_url(name)


@fails("a-hook-url-is-signed")
class LeavesTheNameAsItIs(Turn):
    """Puts a name into a URL that no URL can hold."""

    def hook_url(self, name: str) -> str:
        hooks = self.request.get("hooks")
        if hooks is None:
            return super().hook_url(name)
        signature = hook_signature(hooks["key"], self.workflow_id, self.request["run"], name)
        return f"{hooks['base_url']}/hook/{self.workflow_id}/{name}/{signature}"


@fails("a-hook-url-is-the-same-in-each-turn")
class SignsThePosition(Turn):
    """Makes another URL once something is recorded."""

    def hook_url(self, name: str) -> str:
        return super().hook_url(name) + "0" * self.request["current_step"]


@fails("without-hooks-there-is-no-hook-url", "without-hooks-a-step-puts-the-turn-off")
class MakesUrlsWithoutTheEngine(Turn):
    """Gives out a URL that leads nowhere."""

    def hook_url(self, name: str) -> str:
        return super().hook_url(name) if self.request.get("hooks") else f"/hook/{name}"


@fails("without-hooks-there-is-no-hook-url")
class FailsForWantOfHooks(Turn):
    """Takes what the operator forgot for a fault of the code."""

    def ending(self) -> dict[str, Any]:
        error = self.task.exception()
        return self.fail_workflow(error) if isinstance(error, NoHooksError) else super().ending()


@fails("without-hooks-a-step-puts-the-turn-off")
class FailsTheStepForWantOfHooks(Turn):
    """Uses up the attempts of a step."""

    async def run(self, call: Asked) -> dict[str, Any]:
        action = await super().run(call)
        return self.fail_step(call, RuntimeError("there are no hooks")) if action["action"] == "defer" else action


@fails("a-call-of-a-hook-is-an-event")
class WaitsForTheBareName(Turn):
    """Waits for the event of the hook's name, which nobody sends."""

    def wait_for_hook(self, name: str, **options: Any) -> Awaitable[Any]:
        return self.wait_for_event(name, **options)
