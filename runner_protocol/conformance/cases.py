"""The cases as data: what a file in `cases/` may hold, and how the files are read.

A case is named after its file, and the file after the rule that it proves. A field that no case may have is an error,
so that a misspelt expectation is never an expectation that always holds.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

CASES_FOLDER = Path(__file__).with_name("cases")

Profile = Literal["plain", "kit"]


class CaseError(Exception):
    """A case file, or the choice of cases, makes no sense; the message says which and why."""


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ShortRecord(_Data):
    """A record written shortly; `question.py` completes it as the engine would.

    Exactly one of `step`, `failed`, `sleep` and `event` says what was recorded. `set` replaces fields of the finished
    record, and `repeat` makes that many of it, `"$index"` in their output counting from 0.
    """

    step: str | None = None
    failed: str | None = None
    sleep: str | None = None
    event: str | None = None
    output: Any = None
    error: str = "it failed"
    final: bool = False
    timed_out: bool = False
    repeat: int = Field(default=1, ge=1)
    set: dict[str, Any] = {}

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        if [self.step, self.failed, self.sleep, self.event].count(None) != 3:
            raise ValueError("a record has exactly one of step, failed, sleep, event")
        return self


class Turn(_Data):
    """One request and the answer that it must get.

    `answer` is the expected action; without it `status`, `headers` and `text` say what reply is expected. `input`
    replaces the case's, `request` replaces fields of the finished request, `body` is sent in its place. `at_once` sends
    the turn for that many instances at the same time.
    """

    say: str
    instance: str = "a"
    input: Any = None
    records: tuple[ShortRecord, ...] = ()
    request: dict[str, Any] = {}
    method: str = "POST"
    body: str | None = None
    at_once: int = Field(default=1, ge=1, le=64)
    answer: dict[str, Any] | None = None
    status: Any = None
    headers: dict[str, Any] = {}
    text: Any = None

    @model_validator(mode="after")
    def _expects_something(self) -> Self:
        if self.answer is None and self.status is None:
            raise ValueError("a turn expects an answer or a status")
        return self


class Case(_Data):
    """One rule of the protocol, and the turns that show whether a runner keeps it."""

    name: str
    rule: str
    rules: tuple[str, ...] = Field(min_length=1)
    profile: Profile
    workflow: str
    input: Any = None
    turns: tuple[Turn, ...] = Field(min_length=1)


def load_cases(folder: Path = CASES_FOLDER) -> list[Case]:
    """Read all case files, sorted by name. Raises CaseError."""
    return [_load(path) for path in sorted(folder.glob("*.json"))]


def choose_cases(cases: Iterable[Case], names: Iterable[str], profile: Profile) -> list[Case]:
    """Keep what the profile asks for (`kit` includes `plain`), or the named cases whatever their profile.

    Raises:
        CaseError: a name that no case has.
    """
    by_name = {case.name: case for case in cases}
    wanted = list(names)
    if unknown := [name for name in wanted if name not in by_name]:
        raise CaseError(f"no case is named {unknown[0]!r}; --list shows them all")
    if wanted:
        return [by_name[name] for name in dict.fromkeys(wanted)]
    return [case for case in by_name.values() if profile in ("kit", case.profile)]


def _load(path: Path) -> Case:
    try:
        return Case.model_validate({"name": path.stem, **json.loads(path.read_text(encoding="utf-8"))})
    except (ValidationError, ValueError) as error:
        raise CaseError(f"{path.name}: {error}") from None
