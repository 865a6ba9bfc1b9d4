"""The cases as data: what a file in `cases/` may hold, and how the files are read.

A case is named after its file, and the file after the rule that it proves. A field that no case may have is an error,
so that a misspelt expectation is never an expectation that always holds.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

CASES_FOLDER = Path(__file__).with_name("cases")

Profile = Literal["plain", "kit", "stream"]
"""Each includes those before it: any runner, a kit that does one thing a turn, a kit that streams."""

_PROFILES: tuple[Profile, ...] = get_args(Profile)


class CaseError(Exception):
    """A case file, or the choice of cases, makes no sense; the message says which and why."""


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


KINDS = ("step", "failed", "skipped", "sleep", "event", "approval", "child", "parallel", "map")


class ShortRecord(_Data):
    """A record written shortly; `question.py` completes it as the engine would.

    Exactly one of the fields of KINDS says what was recorded: a name; of a `sleep` the duration, of `failed` the step.
    With `final` what is no step has failed. `set` replaces fields of the finished record, and `repeat` makes that many
    of it, `"$index"` in their output counting from 0.
    """

    step: str | None = None
    failed: str | None = None
    skipped: str | None = None
    sleep: str | None = None
    event: str | None = None
    approval: str | None = None
    child: str | None = None
    parallel: str | None = None
    map: str | None = None
    output: Any = None
    error: str = "it failed"
    final: bool = False
    timed_out: bool = False
    repeat: int = Field(default=1, ge=1)
    set: dict[str, Any] = {}

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        if [getattr(self, kind) for kind in KINDS].count(None) != len(KINDS) - 1:
            raise ValueError(f"a record has exactly one of {', '.join(KINDS)}")
        return self


class Signing(_Data):
    """How a turn is signed, in a runner's own time but `late_s` ago (before 0: by a clock that is ahead).

    `by` are the secrets, the runner's own or another; without any there is no header. `leave_out` is a header that is
    left out, `change` one that is changed after signing, or the `body`.
    """

    by: tuple[Literal["own", "another"], ...] = ("own",)
    late_s: int = 0
    leave_out: str | None = None
    change: str | None = None


class Turn(_Data):
    """One request and the answer that it must get.

    `answer` is the expected action, `lines` are those of a stream, `description` is the answer to `describe`; without
    them `status`, `headers` and `text` say what reply is expected. `input` replaces the case's, `request` replaces
    fields of the finished request, `body` is sent in its place. `at_once` sends the turn for that many instances at the
    same time. `accept` is the header of that name. A stream is accepted where `lines` are expected; `stop_after` hangs
    up after so many of them, and `after_s` waits so long before the turn is sent. `signing` is how it is signed where
    the runner has a secret.
    """

    say: str
    instance: str = "a"
    input: Any = None
    records: tuple[ShortRecord, ...] = ()
    request: dict[str, Any] = {}
    method: str = "POST"
    body: str | None = None
    at_once: int = Field(default=1, ge=1, le=64)
    accept: str | None = None
    after_s: float = Field(default=0, ge=0, le=10)
    stop_after: int | None = Field(default=None, ge=1)
    signing: Signing = Signing()
    answer: dict[str, Any] | None = None
    lines: tuple[dict[str, Any], ...] | None = None
    description: dict[str, Any] | None = None
    status: Any = None
    headers: dict[str, Any] = {}
    text: Any = None

    @model_validator(mode="after")
    def _expects_something(self) -> Self:
        if self.answer is None and self.lines is None and self.description is None and self.status is None:
            raise ValueError("a turn expects an answer or a status")
        return self


class Case(_Data):
    """One rule of the protocol, and the turns that show whether a runner keeps it.

    One that `is_signed` concerns runners that have a secret.
    """

    name: str
    rule: str
    rules: tuple[str, ...] = Field(min_length=1)
    profile: Profile
    is_signed: bool = False
    workflow: str
    input: Any = None
    turns: tuple[Turn, ...] = Field(min_length=1)


def load_cases(folder: Path = CASES_FOLDER) -> list[Case]:
    """Read all case files, sorted by name. Raises CaseError."""
    return [_load(path) for path in sorted(folder.glob("*.json"))]


def choose_cases(
    cases: Iterable[Case], names: Iterable[str], profile: Profile, *, is_signed: bool = False
) -> list[Case]:
    """Keep what the profile asks for, or the named cases whatever their profile; signed ones where the runner is.

    Raises:
        CaseError: a name that no case has.
    """
    by_name = {case.name: case for case in cases}
    wanted = list(names)
    if unknown := [name for name in wanted if name not in by_name]:
        raise CaseError(f"no case is named {unknown[0]!r}; --list shows them all")
    if wanted:
        return [by_name[name] for name in dict.fromkeys(wanted)]
    asked = _PROFILES[: _PROFILES.index(profile) + 1]
    return [case for case in by_name.values() if case.profile in asked and (is_signed or not case.is_signed)]


def _load(path: Path) -> Case:
    try:
        return Case.model_validate({"name": path.stem, **json.loads(path.read_text(encoding="utf-8"))})
    except (ValidationError, ValueError) as error:
        raise CaseError(f"{path.name}: {error}") from None
