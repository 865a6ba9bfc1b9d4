"""Whether the runner answers, and how long to leave it alone when it does not (PROTOCOL.md section 4).

Nothing of this is written: an unavailable runner uses up no retry and changes no instance.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from pylon_workflows.errors import RunnerUnavailableError

DROPPED_TURNS_UNTIL_BLOCKED = 10

_FIRST_DELAY_S = 0.1
_LONGEST_DELAY_S = 30.0
_LONGEST_PROBE_DELAY_S = 5.0
_LONGEST_PROBE_PAUSE_S = 60.0
"""What three instances were asked to wait holds back the others no longer than this: theirs may be answered."""
_FAILING_INSTANCES_UNTIL_DOWN = 3


@dataclass(slots=True)
class _Trouble:
    """The unanswered turns of one instance, since its last answer.

    `dropped_turns` counts broken connections, those with no answer to any instance in between as one: then the runner
    is down for all. That it cannot be connected to, while it is being started again, changes nothing.
    """

    failures: int = 0
    dropped_turns: int = 0
    answers_at_drop: int = -1


@dataclass(slots=True)
class _Workflow:
    """How the runner treats one workflow: who has failed since its last answer, and when it may be probed."""

    failing: set[str] = field(default_factory=set)
    answers: int = 0
    failed_probes: int = 0
    probe_at: float = 0.0

    @property
    def is_down(self) -> bool:
        return len(self.failing) >= _FAILING_INSTANCES_UNTIL_DOWN


_NOTHING_KNOWN = _Workflow()


class RunnerHealth:
    """One runner's state, as told by turns.

    One instance that fails alone waits alone, and so does one whose turn failed while another of its workflow was
    answered. When several fail with no answer in between the runner is down for that workflow: then one of its
    instances at a time probes it, until there is an answer. Another workflow notices nothing of it: its code may well
    answer. Where the runner is down for all, the first answer to any lets all of them probe at once.

    `own_runners` are the workflows and versions that have runners of their own. A workflow is down when all of its
    runners are: as long as one may answer, each instance waits alone.
    """

    def __init__(self, own_runners: Collection[tuple[str, str | None]] = ()) -> None:
        self._versions: dict[str, list[str]] = {}
        for name, version in own_runners:
            if version is not None:
                self._versions.setdefault(name, []).append(version)
        self._troubles: dict[str, _Trouble] = {}
        self._workflows: dict[str | tuple[str, str], _Workflow] = {}
        self._asked: dict[str, tuple[_Workflow, int, bool]] = {}
        self._answers = 0
        self.recoveries = 0
        self.waits: dict[str, tuple[str, datetime]] = {}
        """Of each instance that is put off: why the last time, and since when."""

    def is_failing(self, name: str) -> bool:
        """Whether the last turn of this workflow to end, whoever's it was, found no answer."""
        known = self._workflows.get(name)
        if name in self._versions:
            return any(each.failing for each in self._runners_of(name))
        return known is not None and bool(known.failing)

    def is_down(self, name: str) -> bool:
        """Whether only probes are sent for this workflow."""
        known = self._workflows.get(name)
        if name in self._versions:
            return all(each.is_down for each in self._runners_of(name))
        return known is not None and known.is_down

    def seconds_until_probe(self, name: str, monotonic: float) -> float:
        """How long to leave a runner alone that is down for this workflow."""
        known = self._workflows.get(name)
        if name in self._versions:
            return min(each.probe_at for each in self._runners_of(name)) - monotonic
        return 0.0 if known is None else known.probe_at - monotonic

    def _runners_of(self, name: str) -> Iterator[_Workflow]:
        """How each of a workflow's runners treats it: the one that has no version to itself, and those that have."""
        yield self._workflows.get(name, _NOTHING_KNOWN)
        for version in self._versions[name]:
            yield self._workflows.get((name, version), _NOTHING_KNOWN)

    def asked(self, instance_id: str, name: str, version: str | None = None) -> None:
        """A turn begins; `answered` or `failed` says how it ends."""
        key: str | tuple[str, str] = name
        if version is not None and version in self._versions.get(name, ()):
            key = name, version
        workflow = self._workflows.get(key)
        if workflow is None:
            workflow = self._workflows[key] = _Workflow()
        self._asked[instance_id] = (workflow, workflow.answers, workflow.is_down)

    def answered(self, instance_id: str) -> bool:
        """An answer came, whatever it said; True where it is the first after turns without one."""
        workflow, _, _ = self._asked.pop(instance_id)
        self._answers += 1
        workflow.answers += 1
        has_failed = bool(workflow.failing)
        if has_failed:
            if workflow.is_down:
                self._recovered()
            workflow.failing.clear()
            workflow.failed_probes = 0
            workflow.probe_at = 0.0
        if self._troubles:
            self._troubles.pop(instance_id, None)
        return has_failed

    def _recovered(self) -> None:
        self.recoveries += 1
        for workflow in self._workflows.values():
            workflow.probe_at = 0.0

    def failed(self, instance_id: str, error: RunnerUnavailableError, *, monotonic: float, jitter: float) -> float:
        """No answer came; returns the seconds after which this instance may be asked about again."""
        trouble = self._troubles.setdefault(instance_id, _Trouble())
        trouble.failures += 1
        if error.has_dropped_turn and self._answers > trouble.answers_at_drop:
            trouble.dropped_turns += 1
            trouble.answers_at_drop = self._answers
        workflow, answers_before, is_probe = self._asked.pop(instance_id)
        if answers_before == workflow.answers:
            workflow.failing.add(instance_id)
        asked_for = float(error.retry_after_s or 0.0)
        if workflow.is_down:
            # All that was under way when it went down fails at once, and that is one failure.
            workflow.failed_probes = workflow.failed_probes + 1 if is_probe else max(1, workflow.failed_probes)
            pause = _backoff_s(workflow.failed_probes, _LONGEST_PROBE_DELAY_S, jitter)
            pause = max(pause, min(asked_for, _LONGEST_PROBE_PAUSE_S))
            workflow.probe_at = max(workflow.probe_at, monotonic + pause)
        if trouble.failures == 1 and error.has_dropped_turn:
            return asked_for
        return max(asked_for, _backoff_s(trouble.failures, _LONGEST_DELAY_S, jitter))

    def put_off(self, instance_id: str, reason: str, now: datetime) -> None:
        """Its turn led to nothing: it is asked about again later."""
        known = self.waits.get(instance_id)
        self.waits[instance_id] = (reason, now if known is None else known[1])

    def goes_on(self, instance_id: str) -> None:
        """Its turn led to something."""
        if self.waits:
            self.waits.pop(instance_id, None)

    def wait_of(self, instance_id: str, name: str) -> tuple[str, datetime] | None:
        """Why it is put off, and since when; one that was not asked about waits as the others do that found it down."""
        wait = self.waits.get(instance_id)
        if wait is not None or not self.is_down(name):
            return wait
        failing = self._workflows[name].failing  # those of its other runners have told why themselves
        return next((self.waits[other] for other in failing if other in self.waits), None)

    def has_killed_runner(self, instance_id: str) -> bool:
        """Whether the runner keeps dying on this instance's step while it answers others."""
        trouble = self._troubles.get(instance_id)
        return trouble is not None and trouble.dropped_turns >= DROPPED_TURNS_UNTIL_BLOCKED

    def forget(self, instance_id: str) -> None:
        """The instance is asked about no more."""
        self._asked.pop(instance_id, None)
        self._troubles.pop(instance_id, None)
        self.waits.pop(instance_id, None)


def _backoff_s(failures: int, longest_s: float, jitter: float) -> float:
    return float(min(_FIRST_DELAY_S * 2.0 ** min(failures - 1, 30), longest_s) * (0.5 + jitter / 2))
