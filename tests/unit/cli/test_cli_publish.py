import json

import pytest
from local_server import LocalServer, Run

PUBLISH = ("publish", "paid", "--correlation", "order:7")


def test_publish_says_whether_the_event_was_known(run: Run, server: LocalServer) -> None:
    told = [run(*PUBLISH, "--event-id", "evt_1", "--data", '{"sum": 5}', url=server.url).output for _ in range(2)]
    assert told == ["accepted\n", "had been accepted already\n"]
    other = run(*PUBLISH, "--event-id", "evt_1", "--source", "shop", "--json", url=server.url)
    assert json.loads(other.output) == {"ok": True, "duplicate": False}


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
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
