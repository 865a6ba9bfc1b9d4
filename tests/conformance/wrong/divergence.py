"""Runners that do not see that the code has changed, or see it where it has not."""

from typing import Any

from ..reference import END, Asked, Turn
from . import fails


@fails(
    "no-step-starts-before-all-records-are-handed-out",
    "a-lost-race-is-no-divergence",
    "divergence-names-both-sides",
    "a-change-of-the-code-is-the-only-line",
    "a-member-of-a-group-that-is-gone-diverges",
    "a-skip-is-a-line-like-a-steps",
    "a-slow-step-is-announced",
    "a-stream-can-be-cut-anywhere",
    "a-stream-ends-with-what-suspends",
    "an-answer-can-be-a-stream",
    "an-error-of-the-code-waits-for-steps-that-run",
    "gathered-steps-run-at-the-same-time",
    "lines-say-what-they-come-after",
    "live-results-are-handed-out-like-records",
    "notes-go-with-the-next-line",
    "what-applies-nothing-carries-no-notes",
)
class StartsAtOnce(Turn):
    """Runs a step that has no record as soon as it is called."""

    async def hand_out_all(self) -> dict[str, Any] | None:
        await self.settle()
        known = {record["key"] for record in self.records()}
        if not self.task.done() and self.calls and self.calls[0].kind == "step" and self.calls[0].key not in known:
            return await self.run(self.calls[0])
        return await super().hand_out_all()


@fails(
    "a-lost-race-is-no-divergence",
    "without-hooks-there-is-no-hook-url",
)
class WantsEveryRecordUsed(Turn):
    """Takes a record that the code no longer waits for, for a change of the code."""

    def ending(self) -> dict[str, Any]:
        left = self.records()[len(self.handed_out) :]
        return self.diverged(left[0]) if left else super().ending()


@fails(
    "divergence-names-both-sides",
    "no-step-starts-before-all-records-are-handed-out",
    "a-record-of-another-kind-diverges",
    "a-change-of-the-code-is-the-only-line",
    "a-member-of-a-group-that-is-gone-diverges",
    "a-record-of-another-helper-diverges",
    "what-applies-nothing-carries-no-notes",
    "what-was-skipped-is-no-result-of-a-step",
)
class UsesWhateverIsRecorded(Turn):
    """Hands the next record to the next call, whatever its key."""

    def find(self, record: dict[str, Any]) -> Asked | None:
        return super().find(record) or next((call for call in self.calls if not call.future.done()), None)


@fails(
    "divergence-names-both-sides",
    "a-shortened-workflow-diverges",
    "no-step-starts-before-all-records-are-handed-out",
    "a-change-is-found-before-an-error-of-the-code",
    "a-record-of-another-kind-diverges",
    "a-change-of-the-code-is-the-only-line",
    "a-member-of-a-group-that-is-gone-diverges",
    "a-record-of-another-helper-diverges",
    "what-was-skipped-is-no-result-of-a-step",
)
class NamesOneSide(Turn):
    """Says that something is wrong, but not what."""

    def diverged(self, record: dict[str, Any]) -> dict[str, Any]:
        return {**super().diverged(record), "got": "something else"}


@fails(
    "a-shortened-workflow-diverges",
    "a-change-is-found-before-an-error-of-the-code",
)
class EndsWithRecordsLeft(Turn):
    """Does not look whether a record is left when the function has ended."""

    def ending(self) -> dict[str, Any]:
        self.handed_out = self.records()
        return super().ending()


@fails(
    "a-retried-failure-of-a-renamed-step-is-no-divergence",
)
class WantsFailuresAskedFor(Turn):
    """Takes a failure that took no position for a record that the code must ask for."""

    async def act(self, call: Asked) -> dict[str, Any]:
        for record in self.request["completed_steps"]:
            if record["key"] not in self.by_key:
                return {"action": "diverged", "position": len(self.handed_out), "expected": record["key"], "got": END}
        return await super().act(call)


@fails(
    "a-record-of-another-kind-diverges",
    "a-record-of-another-helper-diverges",
    "what-was-skipped-is-no-result-of-a-step",
)
class ComparesKeysOnly(Turn):
    """Gives a step what a sleep has left."""

    def is_alike(self, call: Asked, record: dict[str, Any]) -> bool:
        return True


@fails(
    "a-change-is-found-before-an-error-of-the-code",
    "without-hooks-there-is-no-hook-url",
)
class ReportsTheErrorFirst(Turn):
    """Lets an error of the code hide that the code has changed."""

    def ending(self) -> dict[str, Any]:
        error = self.task.exception()
        return self.fail_workflow(error) if error else super().ending()
