"""Runners that do again what is recorded, once the instance has waited for something: one for each pair."""

from typing import Any, ClassVar, NamedTuple

from ..reference import Turn


class Kind(NamedTuple):
    """What a case calls a kind, and how its records are told."""

    title: str
    kind: str
    status: str = "completed"

    def has(self, record: dict[str, Any]) -> bool:
        is_first_of_its_kind = record["key"] != "last"
        return (record["kind"], record["status"]) == (self.kind, self.status) and is_first_of_its_kind


KINDS = (
    Kind("a-step", "step"),
    Kind("an-operation", "s3-copy"),
    Kind("a-skip", "step", "skipped"),
    Kind("a-sleep", "sleep"),
    Kind("a-wait", "event"),
    Kind("an-approval", "approval"),
    Kind("a-child", "child"),
    Kind("a-parallel", "parallel"),
    Kind("a-map", "map"),
)
SUSPENSIONS = KINDS[3:]


class Forgetful(Turn):
    """Has no record of the first kind once there is one of the other kind behind it."""

    forgotten: ClassVar[Kind]
    behind: ClassVar[Kind]

    def records(self) -> list[dict[str, Any]]:
        records = super().records()
        last = max((n for n, record in enumerate(records) if self.behind.has(record)), default=0)
        return [record for n, record in enumerate(records) if n >= last or not self.forgotten.has(record)]


def forgetful(forgotten: Kind, behind: Kind) -> type[Forgetful]:
    """The runner that forgets this kind behind that one, and fails the case of the two."""
    case = f"{forgotten.title}-is-replayed-after-{behind.title}"
    members = {"forgotten": forgotten, "behind": behind, "fails": frozenset({case})}
    return type(case, (Forgetful,), members)


class NeverForgets(Turn):
    """Takes the records of the run before for those of the next."""

    runs: ClassVar[dict[tuple[str, str], list[dict[str, Any]]]] = {}

    def __init__(self, request: dict[str, Any]) -> None:
        kept = type(self).runs.setdefault((request["workflow_name"], request["workflow_id"]), [])
        if request["run"] == 1:
            kept[:] = request["completed_steps"]
        request["completed_steps"] = kept if not request["completed_steps"] else request["completed_steps"]
        super().__init__(request)
        self.request = request


FORGETFUL = [forgetful(kind, suspension) for kind in KINDS for suspension in SUSPENSIONS]
