"""What docs/webhooks.md says of sources and schemes is so."""

import dataclasses
import hmac
import re
from pathlib import Path
from typing import get_args

import pytest
from starlette.requests import ClientDisconnect

from pylon_workflows import errors, hooks
from pylon_workflows.api import refusals
from pylon_workflows.api.answers import ANSWERS
from pylon_workflows.api.problems import UNEXPECTED
from pylon_workflows.hooks import HookSource, sources_file
from pylon_workflows.hooks.app import _explain
from pylon_workflows.hooks.sources_file import load_sources

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "webhooks.md").read_text()


def table(first: str) -> list[list[str]]:
    """The rows of the table whose first column has this title; a bar in a cell is written with a backslash."""
    rows = PAGE.partition(f"| {first} |")[2].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def test_every_field_of_a_source_is_explained() -> None:
    assert [row[0].strip("`") for row in table("field")] == [
        "name", "verifier", "delivery", "event", "events", "instance", "correlation", "data", "body", "start"
    ]  # fmt: skip
    assert {row[0].strip("`") for row in table("field")} == {each.name for each in dataclasses.fields(HookSource)}


def test_every_scheme_is_listed_with_what_its_senders_do() -> None:
    union, _ = get_args(sources_file._AnySource)
    in_file = {get_args(each.model_fields["scheme"].annotation)[0] for each in get_args(union)}
    rows = table("scheme")
    assert {row[0].strip("`") for row in rows} == in_file
    for _, python, _, time, delivery, event in rows:
        scheme = getattr(hooks, python.strip("`"))
        verifier = scheme(b"secret") if scheme is not hooks.HmacSignature else scheme(b"secret", header="s")
        habits = (verifier.habits.delivery or "you say", verifier.habits.event or "you say")
        assert (delivery.strip("`"), event.strip("`")) == habits
        if scheme is not hooks.HmacSignature:
            assert (time == "5 minutes") is hasattr(verifier, "_tolerance_s")


REFUSED = {
    refusals.BadSignatureError, errors.WrongHookUrlError, refusals.UnknownSourceError, refusals.UnknownRouteError,
    refusals.MethodNotAllowedError, refusals.BodyTooSlowError, refusals.BodyTooLargeError, errors.InboxFullError,
    errors.KeptEventsFullError, errors.UnknownWorkflowError,
}  # fmt: skip
OF_THE_API = {
    refusals.MalformedJsonError, refusals.RefusedRequestError, refusals.MissingTokenError, refusals.NotLocalError,
    refusals.NotAllowedError, refusals.MissingScopeError, refusals.ForeignOriginError, refusals.UnknownHostError,
    refusals.TooManyStreamsError, refusals.UnsupportedEncodingError,
}  # fmt: skip


def test_every_answer_is_listed_with_its_status_and_whether_it_asks_to_come_again() -> None:
    known = {
        each for each in vars(refusals).values() if isinstance(each, type) and each.__module__ == refusals.__name__
    }
    assert known == OF_THE_API | {each for each in REFUSED if each.__module__ == refusals.__name__}
    ours = {each for each in ANSWERS if issubclass(each, errors.EngineError | errors.StoreError)}
    problems = [_explain(kind("x")) for kind in REFUSED | ours] + [_explain(ClientDisconnect()), UNEXPECTED]
    expected = {(each.status, each.code): "retry-after" in each.headers for each in problems if each is not None}
    listed = {
        (int(status), code): "Retry-After" in when
        for status, body, when in table("status")
        for code in re.findall(r"`([a-z-]+)`", body)
    }
    assert listed == expected


def test_the_file_of_the_page_is_one(tmp_path: Path) -> None:
    (tmp_path / "hooks.toml").write_text(PAGE.partition("```toml file=hooks.toml\n")[2].partition("```")[0])
    environment = {"PSP_SECRET": "b25l", "GITHUB_SECRET": "two", "CARRIER_SECRET": "three"}
    psp, github, carrier = load_sources(tmp_path / "hooks.toml", environment)
    assert (psp.name, github.name, carrier.name) == ("psp", "github", "carrier")
    signature = hmac.digest(b"three", b"1000.{}", "sha256").hex()
    headers = [(b"x-carrier-time", b"1000"), (b"x-carrier-signature", f"sha256={signature}".encode())]
    carrier.verifier.verify(headers, b"{}", 1000.0)
    with pytest.raises(hooks.BadSignatureError):
        carrier.verifier.verify(headers, b"[]", 1000.0)


def test_the_example_of_the_module_is_one(tmp_path: Path) -> None:
    example = (sources_file.__doc__ or "").partition("\n\n")[2]
    (tmp_path / "hooks.toml").write_text(example)
    [source] = load_sources(tmp_path / "hooks.toml", {"STRIPE_SECRET": "one", "STRIPE_SECRET_OLD": "two"})
    assert source.start is not None


@pytest.mark.parametrize("name", hooks.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    assert getattr(hooks, name).__doc__
