"""Runners that get notes and variables wrong."""

from typing import Any

from ..noting import Note, body_notes
from ..reference import Turn
from . import fails


@fails(
    "applied-notes-are-not-sent-again",
    "notes-go-with-a-failure-of-the-code",
    "notes-go-with-the-next-action",
    "notes-go-with-the-next-line",
    "notes-of-a-failed-attempt-are-sent-with-it",
    "variables-are-the-runs-and-the-codes-own",
)
class SendsAllNotesAgain(Turn):
    """Does not look at what is applied."""

    def applied(self, request: dict[str, Any]) -> int:
        return 0


@fails(
    "applied-notes-are-not-sent-again",
    "notes-go-with-a-failure-of-the-code",
    "notes-go-with-the-next-action",
    "notes-go-with-the-next-line",
    "notes-of-a-failed-attempt-are-sent-with-it",
)
class CountsNoNotes(Turn):
    """Does not say how far its notes go."""

    def with_notes(self, action: dict[str, Any], own: list[Note]) -> dict[str, Any]:
        return {**super().with_notes(action, own), "noted": None}


@fails(
    "applied-notes-are-not-sent-again",
    "notes-go-with-the-next-action",
    "notes-of-a-failed-attempt-are-sent-with-it",
)
class CountsNotesOfSteps(Turn):
    """Counts what a step's body notes, though no replay runs it again."""

    def with_notes(self, action: dict[str, Any], own: list[Note]) -> dict[str, Any]:
        self.made += len(own)
        return super().with_notes(action, own)


@fails(
    "notes-of-a-failed-attempt-are-sent-with-it",
)
class NotesOnSuccessOnly(Turn):
    """Loses what a failed attempt has cost."""

    def with_notes(self, action: dict[str, Any], own: list[Note]) -> dict[str, Any]:
        return super().with_notes(action, own if action["action"] == "step_complete" else [])


@fails(
    "applied-notes-are-not-sent-again",
    "notes-go-with-a-failure-of-the-code",
    "notes-go-with-the-next-action",
    "notes-go-with-the-next-line",
)
class NotesWithStepsOnly(Turn):
    """Sends notes with steps, and drops those before what suspends or ends."""

    def with_notes(self, action: dict[str, Any], own: list[Note]) -> dict[str, Any]:
        return super().with_notes(action, own) if "step_name" in action else action


@fails(
    "what-applies-nothing-carries-no-notes",
)
class NotesOnEveryAction(Turn):
    """Sends notes with what applies none."""

    def with_notes(self, action: dict[str, Any], own: list[Note]) -> dict[str, Any]:
        if action["action"] == "diverged":
            return {**action, "noted": self.made}
        return super().with_notes(action, own)


@fails(
    "a-variable-is-not-set-in-a-step",
)
class SetsInSteps(Turn):
    """Lets a step's body set a variable."""

    def set(self, values: dict[str, Any]) -> None:
        own = body_notes.get()
        if own is None:
            super().set(values)
        else:
            self.vars |= values
            own.append({"vars": values})


@fails(
    "variables-are-the-runs-and-the-codes-own",
)
class ReadsRecordsForVariables(Turn):
    """Sets what the records carry before the code has come so far."""

    def __init__(self, request: dict[str, Any]) -> None:
        super().__init__(request)
        for record in request["completed_steps"]:
            self.vars |= record.get("vars") or {}


@fails(
    "notes-go-with-the-next-line",
    "variables-are-the-runs-and-the-codes-own",
)
class SetsVariablesLater(Turn):
    """Shows the code a variable that it has set in the next turn only."""

    def change(self, note: Note) -> None:
        seen = dict(self.vars)
        super().change(note)
        self.vars = seen


@fails(
    "notes-go-with-the-next-action",
    "variables-are-the-runs-and-the-codes-own",
)
class KeepsUnsetVariables(Turn):
    """Does not remove a variable."""

    def unset(self, name: str) -> None:
        self.note({"progress": {}})


@fails(
    "applied-notes-are-not-sent-again",
    "notes-go-with-the-next-action",
)
class AddsAsFloats(Turn):
    """Sums money as binary fractions."""

    def with_notes(self, action: dict[str, Any], own: list[Note]) -> dict[str, Any]:
        costs = [float(note["usage"]["cost_usd"]) for note in [*self.unsent, *own] if "usage" in note]
        action = super().with_notes(action, own)
        if len(costs) > 1:
            action["usage"]["cost_usd"] = str(sum(costs))
        return action


@fails(
    "applied-notes-are-not-sent-again",
    "notes-go-with-the-next-action",
)
class ForgetsToLog(Turn):
    """Writes lines for people to its own output."""

    def log_line(self, message: str) -> None:
        self.note({})
