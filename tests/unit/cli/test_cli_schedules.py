import json

import pytest
from local_server import LocalServer, Run

ADD = ("schedule", "add", "0 9 * * *", "echo", "--id", "daily")


def made(server: LocalServer, run: Run, *more: str) -> None:
    assert run(*ADD, *more, url=server.url).exit_code == 0


def test_add_says_when_it_is_next_and_whether_it_was_there(run: Run, server: LocalServer) -> None:
    result = run(*ADD, url=server.url)
    assert result.exit_code == 0
    assert result.output.startswith("added daily: next 20")
    again = run(*ADD, url=server.url)
    assert again.output == result.output.replace("added", "there is")


def test_add_passes_on_all_that_it_is_told(run: Run, server: LocalServer) -> None:
    result = run(
        *ADD, "--input", '{"kind": "sales"}', "--timezone", "Europe/Berlin", "--missed", "skip",
        "--tag", "team=blue", "--tag", "note=a=b", "--json", url=server.url,
    )  # fmt: skip
    value = json.loads(result.output)
    assert {key: value[key] for key in ("id", "name", "input", "timezone", "missed", "tags")} == {
        "id": "daily",
        "name": "echo",
        "input": {"kind": "sales"},
        "timezone": "Europe/Berlin",
        "missed": "skip",
        "tags": {"team": "blue", "note": "a=b"},
    }


def test_list_and_show_tell_what_there_is(run: Run, server: LocalServer) -> None:
    made(server, run, "--tag", "team=blue", "--input", "[1]", "--timezone", "Asia/Tokyo")
    listed = run("schedule", "list", url=server.url)
    title, line = listed.output.splitlines()
    assert title.split() == ["ID", "CRON", "ZONE", "NAME", "LAST"]
    assert line.startswith("daily  0 9 * * *  Asia/Tokyo  echo")
    assert json.loads(run("schedule", "list", "--json", url=server.url).output)[0]["id"] == "daily"
    shown = run("schedule", "show", "daily", url=server.url)
    assert shown.output.splitlines()[0] == "daily  0 9 * * *  Asia/Tokyo  echo"
    assert shown.output.splitlines()[2:] == ["missed ticks: once", "team=blue", "[1]"]
    assert json.loads(run("schedule", "show", "daily", "--json", url=server.url).output)["tags"] == {"team": "blue"}


def test_pause_resume_and_remove(run: Run, server: LocalServer) -> None:
    made(server, run)
    assert run("schedule", "pause", "daily", url=server.url).output == "daily: paused\n"
    assert "paused" in run("schedule", "list", url=server.url).output
    assert run("schedule", "resume", "daily", url=server.url).output.startswith("daily: next 20")
    assert run("schedule", "remove", "daily", url=server.url).output == "removed daily\n"
    assert json.loads(run("schedule", "list", "--json", url=server.url).output) == []


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (("add", "0 9 * *", "echo"), 1, "cron: '0 9 * *' should have five fields"),
        (("add", "0 9 * * *", "echo", "--timezone", "Mars"), 1, "timezone: 'Mars' is no time zone"),
        (("add", "0 9 * * *", "nobody"), 1, "no workflow is named 'nobody'"),
        (("add", "0 9 * * *", "echo", "--missed", "twice"), 2, "'twice' is not one of"),
        (("add", "0 9 * * *", "echo", "--tag", "blue"), 2, "should be NAME=VALUE"),
        (("add", "0 9 * * *", "echo", "--tag", "a=1", "--tag", "a=2"), 2, "each name once"),
        (("add", "0 9 * * *", "echo", "--input", "{"), 2, "--input"),
        (("add", "0 9 * * *"), 2, "Missing argument"),
        (("show", "nobody"), 1, "no schedule has the id 'nobody'"),
        (("pause", "a b"), 1, "no schedule has the id 'a b'"),
        (("remove", "nobody"), 1, "no schedule has the id 'nobody'"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    run: Run, server: LocalServer, arguments: tuple[str, ...], status: int, sentence: str
) -> None:
    result = run("schedule", *arguments, url=server.url)
    assert result.exit_code == status
    assert sentence in result.output
