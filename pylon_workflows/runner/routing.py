"""Several runners as one: each turn goes to the runner of its workflow and version."""

import logging
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import timedelta
from typing import Self

from pylon_workflows.canonical_json import checked_text
from pylon_workflows.ports import Apply, Describer, Runner, Turn
from runner_protocol.messages import Defer, DescribedWorkflow, Description

_log = logging.getLogger(__name__)

_NO_RUNNER_PAUSE = timedelta(seconds=5)

Route = tuple[str, str | None]
"""A workflow's name, and one version of it, or None for all that have no route of their own."""


def parse_route(text: str) -> Route:
    """Read `orders` or `orders@2`: the last `@` begins the version. Raises InvalidInputError."""
    name, at, version = text.rpartition("@")
    if not at:
        return checked_text(text, f"runners: {text[:140]!r}"), None
    for part, what in ((name, "name"), (version, "version")):
        checked_text(part, f"runners: {text[:140]!r}: the {what}")
    return name, version


class RoutingRunner:
    """Sends a turn to the runner of its workflow's version, else to that of the workflow, else to the default one.

    Where there is none the turn is deferred, as by a runner that does not know the version. Runners that are async
    context managers are entered and left with this one.
    Raises InvalidInputError: a route is no name or name@version.
    """

    def __init__(self, default: Runner | None, routes: Mapping[str, Runner]) -> None:
        self._default = default
        self._routes = {parse_route(text): runner for text, runner in routes.items()}
        given = (default, *routes.values())
        self._runners = {id(runner): runner for runner in given if runner is not None}.values()
        self._resources = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as resources:
            for runner in self._runners:
                if isinstance(runner, AbstractAsyncContextManager):
                    await resources.enter_async_context(runner)
            self._resources = resources.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._resources.aclose()

    @property
    def routes(self) -> Collection[Route]:
        """The workflows and versions that have runners of their own."""
        return self._routes.keys()

    @property
    def describers(self) -> Sequence[Describer]:
        """Each runner that can be asked for its workflows; it tells of those whose turns it gets."""
        return [RoutedDescriber(self, runner, runner) for runner in self._runners if isinstance(runner, Describer)]

    def runner_for(self, workflow: str, version: str | None) -> Runner | None:
        """Who is asked about instances of this version."""
        of_workflow = self._routes.get((workflow, None), self._default)
        return self._routes.get((workflow, version), of_workflow)

    async def take_turn(self, turn: Turn, apply: Apply) -> None:
        """See `ports.Runner`."""
        runner = self.runner_for(turn.workflow, turn.version)
        if runner is None:
            of_version = "" if turn.version is None else f", version {turn.version!r}"
            reason = f"no runner is set for the workflow {turn.workflow!r}{of_version}"
            await apply((Defer(retry_after=_NO_RUNNER_PAUSE, reason=reason),))
        else:
            await runner.take_turn(turn, apply)


class RoutedDescriber:
    """A runner among several, asked for its workflows: what it tells of others counts for nothing."""

    def __init__(self, routing: RoutingRunner, runner: Runner, describer: Describer) -> None:
        self._routing = routing
        self._runner = runner
        self._describer = describer
        self._left_out: set[str] = set()

    async def describe(self) -> Description | None:
        """See `ports.Describer`."""
        description = await self._describer.describe()
        if description is None:
            return None
        its_own = [each for each in description.workflows if self._gets(each)]
        return description.model_copy(update={"workflows": its_own})

    def _gets(self, workflow: DescribedWorkflow) -> bool:
        if self._routing.runner_for(workflow.name, workflow.version) is self._runner:
            return True
        told = f"{workflow.name!r}" + ("" if workflow.version is None else f", version {workflow.version!r}")
        if told not in self._left_out:
            self._left_out.add(told)
            _log.info("a runner has the workflow %s too, but is not the one that is asked about it", told)
        return False
