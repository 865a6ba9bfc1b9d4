"""Which workflows the runners hold: asked, kept in the store, and known beside those that people have registered."""

import asyncio
import logging
import re
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pylon_workflows.definitions import Definitions, WorkflowDefinition
from pylon_workflows.errors import CallerError, RunnerUnavailableError, StoreError
from pylon_workflows.ports import Clock, Describer, Store
from runner_protocol.messages import DescribedWorkflow

_log = logging.getLogger(__name__)

REFRESH_S = 30.0
"""How often a runner that describes itself is asked again, so that new starts get the version of a new deployment."""

LEAST_PAUSE_S = 1.0
"""A runner is asked no more often, however many unknown names are asked for."""

MAX_TOLD = 10_000
"""So many workflows are known of runners; a runner that tells of others each time would fill the file."""

_FIRST_DELAY_S = 2.0
_LONGEST_DELAY_S = 60.0
_PIECE = re.compile(r"[0-9]+|[^0-9]+")


@dataclass(eq=False, slots=True)
class _Source:
    """A runner, and what it told the last time that it answered; `is_described` is set unless it does not know how."""

    describer: Describer
    workflows: Sequence[DescribedWorkflow] = ()
    has_answered: bool = False
    is_described: asyncio.Event = field(default_factory=asyncio.Event)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    asked_at: float = -LEAST_PAUSE_S
    failures: int = 0
    has_refused: bool = False

    def begin(self) -> None:
        """Go on in the present event loop: an engine may run in several, one after the other."""
        was_described = self.is_described.is_set()
        self.is_described, self.lock = asyncio.Event(), asyncio.Lock()
        if was_described:
            self.is_described.set()


class Discovery:
    """Asks each runner until it has answered, now and then again, and when a name is asked for that nobody knows.

    A runner of version 1 is asked once, and later only for such names. A workflow of which no runner tells any more
    stays known: its runner may be away, and what is started waits for it.
    """

    def __init__(
        self,
        describers: Sequence[Describer],
        definitions: Definitions,
        store: Store,
        clock: Clock,
        jitter: Callable[[], float],
    ) -> None:
        self._definitions = definitions
        self._store = store
        self._clock = clock
        self._jitter = jitter
        self._sources = [_Source(describer) for describer in describers]
        self._refused: set[str] = set()
        self._is_full = False

    @property
    def parts(self) -> Sequence[Callable[[], Coroutine[Any, Any, None]]]:
        """What a running engine runs: a part for each runner."""
        return [partial(self._follow, source) for source in self._sources]

    async def look_for(self, name: str) -> None:
        """Ask the runners, unless the workflow is known or they have just been asked. Raises StoreError."""
        if name not in self._definitions:
            await asyncio.gather(*(self._ask(source) for source in self._sources))

    async def _follow(self, source: _Source) -> None:
        source.begin()
        while True:
            try:
                await self._ask(source)
            except StoreError as error:
                source.failures += 1
                _log.info("what a runner tells of its workflows could not be kept, tried again: %s", error)
            if source.failures:
                doubled_s = min(_FIRST_DELAY_S * 2.0 ** min(source.failures - 1, 30), _LONGEST_DELAY_S)
                await self._clock.sleep(doubled_s * (0.5 + self._jitter() / 2))
            elif source.is_described.is_set():
                await self._clock.sleep(REFRESH_S)
            else:
                await source.is_described.wait()

    async def _ask(self, source: _Source) -> None:
        """Ask once, unless that has just been done or is being done."""
        came_at = self._clock.monotonic()
        async with source.lock:
            if came_at < source.asked_at + LEAST_PAUSE_S:
                return
            try:
                description = await source.describer.describe()
            except RunnerUnavailableError as error:
                self._note(source, error)
                return
            finally:
                source.asked_at = self._clock.monotonic()
            source.failures = 0
            source.has_refused = False
            source.has_answered = True
            self._definitions.unheard.pop(source, None)
            source.workflows = () if description is None else description.workflows
            if description is None:
                source.is_described.clear()
            else:
                source.is_described.set()
                await self._keep()

    def _note(self, source: _Source, error: RunnerUnavailableError) -> None:
        """Tell once an outage, for turns tell of it too; and of a refusal, which may keep turns from coming."""
        reason = str(error).partition("; the body begins ")[0]  # a log holds no bodies
        is_new_refusal = error.has_refused and not source.has_refused
        if source.failures == 0 or is_new_refusal:
            level = logging.WARNING if is_new_refusal else logging.INFO
            _log.log(level, "a runner does not say which workflows it has, it is asked again: %s", reason)
        source.failures += 1
        source.has_refused = error.has_refused
        self._definitions.unheard[source] = reason

    async def _keep(self) -> None:
        """Register the newest version of each workflow that runners tell of.

        As long as one of them has not been heard, no version takes the place of a newer one that was known before.
        """
        newest: dict[str, WorkflowDefinition] = {}
        for described in (each for source in self._sources for each in source.workflows):
            definition = self._definition(described)
            if definition is None:
                continue
            known = newest.get(definition.name)
            if known is None or is_newer(definition.version, known.version):
                newest[definition.name] = definition
        are_all_heard = all(source.has_answered for source in self._sources)
        for name, definition in newest.items():
            known = self._definitions.told(name)
            if known is None and self._definitions.told_count >= MAX_TOLD:
                if not self._is_full:
                    self._is_full = True
                    _log.error(
                        "runners tell of more than %d workflows: %r and further ones stay unknown", MAX_TOLD, name
                    )
                continue
            if known == definition or (
                known is not None and not are_all_heard and is_newer(known.version, definition.version)
            ):
                continue
            await self._store.save_definition(definition)
            self._definitions.restore([definition])
            _log.info("a runner has the workflow %r, version %s", name, definition.version)

    def _definition(self, described: DescribedWorkflow) -> WorkflowDefinition | None:
        terms = {
            "max_retries": described.max_retries,
            "step_timeout": described.step_timeout,
            "version": described.version,
            "description": described.description,
            "input_schema": described.input_schema,
        }
        given: dict[str, Any] = {term: value for term, value in terms.items() if value is not None}
        try:
            return WorkflowDefinition(described.name, **given, source="runner")
        except CallerError as error:
            if described.name not in self._refused and len(self._refused) < MAX_TOLD:
                self._refused.add(described.name)
                _log.warning("a runner's workflow %r is not registered: %s", described.name, error)
            return None


def is_newer(version: str | None, other: str | None) -> bool:
    """Whether a version is later than another: numbers in it count as numbers, and none at all comes first."""
    return _rank(version) > _rank(other)


def _rank(version: str | None) -> list[tuple[int, int, str]]:
    pieces = _PIECE.findall(version or "")
    return [(1, int(piece), "") if piece[0] in "0123456789" else (0, 0, piece) for piece in pieces]
