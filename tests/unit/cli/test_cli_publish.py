import json

import pytest
from local_server import LocalServer, Run

from pylon_workflows.testing import wait_until

PUBLISH = ("publish", "paid", "--correlation", "order:7")


def test_publish_says_whether_the_event_was_known(run: Run, server: LocalServer) -> None:
    told = [run(*PUBLISH, "--event-id", "evt_1", "--data", '{"sum": 5}', url=server.url).output for _ in range(2)]
    assert told == ["accepted\n", "had been accepted already\n"]
    other = run(*PUBLISH, "--event-id", "evt_1", "--source", "shop", "--json", url=server.url)
    assert json.loads(other.output) == {"ok": True, "duplicate": False}


def test_what_nobody_waits_for_starts_what_is_named(run: Run, server: LocalServer) -> None:
    start = ("--start", "onboarding", "--start-input", '{"user": 7}', "--start-id", "user-7", "--start-tag", "plan=pro")
    told = run("publish", "signed-up", "--correlation", "user:7", *start, url=server.url)
    assert told.output == "accepted\n"

    async def is_started() -> bool:
        return bool(await server.engine.list(name="onboarding"))

    server.do(wait_until(is_started))
    shown = json.loads(run("show", "user-7", "--json", url=server.url).output)
    assert (shown["name"], shown["input"], shown["tags"]) == ("onboarding", {"user": 7}, {"plan": "pro"})


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        ((*PUBLISH, "--start-id", "order-7"), 2, "are of what --start names"),
        ((*PUBLISH, "--start", "order", "--start-input", "{"), 2, "--start-input"),
        ((*PUBLISH, "--start", "order", "--start-tag", "x"), 2, "--start-tag"),
        (("publish", "paid"), 2, "--correlation"),
        ((*PUBLISH, "--data", "{"), 2, "--data"),
        ((*PUBLISH, "--source", "a b"), 1, "source: 'a b' must be"),
        (("publish", "x" * 129, "--correlation", "k"), 1, "event"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    run: Run, server: LocalServer, arguments: tuple[str, ...], status: int, sentence: str
) -> None:
    result = run(*arguments, url=server.url)
    assert result.exit_code == status
    assert sentence in result.output
