import json
from pathlib import Path
from typing import Any

import pytest
from local_server import LocalServer, Run

from pylon_workflows.api import handlers
from pylon_workflows.cli import bulk, commands


def started(server: LocalServer, name: str, **options: Any) -> str:
    return server.do(server.engine.start(name, **options))


def ended(server: LocalServer, name: str, **options: Any) -> str:
    instance_id = started(server, name, **options)
    server.do(server.engine.wait(instance_id, 10))
    return instance_id


def blocked(server: LocalServer, run: Run) -> str:
    result = run("start", "lost", "--wait", "--json", url=server.url)
    instance_id: str = json.loads(result.output)["id"]
    return instance_id


class TestStart:
    def test_it_tells_the_id(self, run: Run, server: LocalServer) -> None:
        result = run("start", "echo", "--id", "e1", url=server.url)
        assert (result.exit_code, result.output) == (0, "started e1\n")
        again = run("start", "echo", "--id", "e1", url=server.url)
        assert (again.exit_code, again.output) == (0, "had been started already: e1\n")

    def test_it_prints_json(self, run: Run, server: LocalServer) -> None:
        result = run("start", "echo", "--idempotency-key", "k", "--json", url=server.url)
        again = run("start", "echo", "--idempotency-key", "k", "--json", url=server.url)
        assert json.loads(result.output) == json.loads(again.output)

    def test_the_input_is_a_text_a_file_or_standard_input(self, run: Run, server: LocalServer, tmp_path: Path) -> None:
        file = tmp_path / "input.json"
        file.write_text('{"é": 18446744073709551615}')
        for given, stdin, expected in (
            ('{"a": 1}', None, {"a": 1}),
            (f"@{file}", None, {"é": 2**64 - 1}),
            ("-", "[null]", [None]),
            ("null", None, None),
        ):
            result = run("start", "echo", "--input", given, "--wait", "--json", url=server.url, input=stdin)
            assert result.exit_code == 0
            assert json.loads(result.output)["output"] == {"input": expected}

    def test_wait_prints_what_came_of_it(self, run: Run, server: LocalServer) -> None:
        result = run("start", "echo", "--id", "e2", "--input", "1", "--wait", url=server.url)
        assert (result.exit_code, result.output) == (0, 'e2 completed {"input":1}\n')

    def test_wait_exits_1_when_it_failed_or_is_blocked(self, run: Run, server: LocalServer) -> None:
        failed = run("start", "broken", "--id", "b", "--wait", url=server.url)
        assert (failed.exit_code, failed.output) == (1, "b failed declined\n")
        stuck = run("start", "lost", "--id", "l", "--wait", url=server.url)
        assert stuck.exit_code == 1
        assert stuck.output.startswith("l blocked ")
        assert "charge" in stuck.output

    def test_wait_asks_until_it_has_ended(self, run: Run, server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            commands.time, "sleep", lambda _: server.do(server.engine.send_event("o", "confirmed", event_id="1"))
        )
        result = run("start", "onboarding", "--id", "o", "--wait", url=server.url)
        assert (result.exit_code, result.output) == (0, 'o completed {"input":{}}\n')

    @pytest.mark.parametrize("given", ["{", "", "@/no/such/file", "\ud800"])
    def test_an_input_that_is_no_json_is_wrong_usage(self, run: Run, given: str) -> None:
        result = run("start", "echo", "--input", given)
        assert result.exit_code == 2
        assert "--input" in result.output

    @pytest.mark.parametrize("command", [("start", "echo", "--input"), ("send-event", "w", "paid", "--data")])
    @pytest.mark.parametrize(
        ("given", "said"),
        [
            (b'{"a": [1, NaN]}', "NaN is not JSON"),
            (b"-Infinity", "-Infinity is not JSON"),
            (b"1e999", "beyond the range of a double"),
            (b'{"a":1,"a":2}', "the key 'a' stands twice"),
            (b"\xef\xbb\xbf1", "not JSON: "),
            (b'"\\ud800"', "a string holds a lone surrogate"),
            (b'"\xff"', "the text is not UTF-8"),
            (b"18446744073709551616", "does not fit 64 bits"),
            (b"-9223372036854775809", "does not fit 64 bits"),
            (b"[" * 65 + b"]" * 65, "nested deeper than 64"),
            (b"[" * 100_000, "nested deeper than 64"),
        ],
    )
    def test_json_that_would_not_come_back_equal_is_wrong_usage_wherever_it_comes_from(
        self, run: Run, tmp_path: Path, command: tuple[str, ...], given: bytes, said: str
    ) -> None:
        file = tmp_path / "value.json"
        file.write_bytes(given)
        results = [run(*command, f"@{file}"), run(*command, "-", input=given)]
        if len(given) < 1000:
            results.append(run(*command, given.decode(errors="surrogateescape")))
        for result in results:
            assert result.exit_code == 2
            assert f"Invalid value for {command[-1]}: " in result.output
            assert said in " ".join(result.output.split())
            assert "Traceback" not in result.output

    def test_a_value_is_sent_on_as_it_was_given(self, run: Run, server: LocalServer) -> None:
        deep = "[" * 64 + "]" * 64
        for given in ("[-9223372036854775808,18446744073709551615]", "1.0", "-0.0", '"\\ud834\\udd1e"', deep):
            result = run("start", "echo", "--input", given, "--wait", "--json", url=server.url)
            assert result.exit_code == 0
            (output,) = json.loads(result.output)["output"].values()
            assert repr(output) == repr(json.loads(given))

    def test_an_unknown_workflow_exits_1_with_the_servers_sentence(self, run: Run, server: LocalServer) -> None:
        result = run("start", "nothing", url=server.url)
        assert result.exit_code == 1
        assert result.stderr.startswith("Error: no workflow is named 'nothing'")
        assert result.stdout == ""


class TestList:
    def test_it_is_a_table_newest_first(self, run: Run, server: LocalServer) -> None:
        ended(server, "echo", id="first")
        ended(server, "broken", id="second")
        started(server, "patient", id="third")
        server.do(server.engine.send_event("third", "other"))
        result = run("list", "--status", "completed", url=server.url)
        title, line = result.output.splitlines()
        assert title.split() == ["ID", "NAME", "STATUS", "STEPS", "CREATED"]
        assert line.split()[:4] == ["first", "echo", "completed", "0"]
        assert [row.split()[0] for row in run("list", url=server.url).output.splitlines()[1:]] == [
            "third",
            "second",
            "first",
        ]
        assert "declined" in run("list", "--name", "broken", url=server.url).output

    def test_it_prints_json_through_all_pages_up_to_the_limit(
        self, run: Run, server: LocalServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(commands, "MAX_PAGE", 2)
        for number in range(5):
            ended(server, "echo", id=f"i{number}")
        for limit, expected in (("9", "i4 i3 i2 i1 i0"), ("3", "i4 i3 i2"), ("1", "i4")):
            result = run("list", "--limit", limit, "--json", url=server.url)
            assert " ".join(item["id"] for item in json.loads(result.output)) == expected

    def test_a_pipe_gets_whole_lines(self, run: Run, server: LocalServer) -> None:
        long = "x" * 128
        ended(server, "echo", id=long)
        assert long in run("list", url=server.url).output
        assert long in run("show", long, url=server.url).output

    def test_it_takes_a_filter_in_the_words_of_a_start(self, run: Run, server: LocalServer) -> None:
        options = ("--tag", "customer=a=b&c", "--tag", "env=test", "--parent", "order-1", "--delay", "1h")
        assert run("start", "echo", "--id", "a", *options, url=server.url).exit_code == 0
        assert run("start", "echo", "--id", "b", "--tag", "env=test", "--at", "2000-01-01T00:00:00Z", url=server.url)

        def listed(*filters: str) -> str:
            return " ".join(item["id"] for item in json.loads(run("list", "--json", *filters, url=server.url).output))

        assert listed("--tag", "env=test") == "b a"
        assert listed("--tag", "env=test", "--tag", "customer=a=b&c") == listed("--parent", "order-1") == "a"
        assert listed("--since", "1h") == listed("--until", "2999-01-01T00:00:00Z", "--name", "echo") == "b a"
        assert listed("--until", "1h") == ""
        (item,) = json.loads(run("list", "--json", "--status", "pending", url=server.url).output)
        assert (item["id"], item["parent_id"], item["wake_at"] is None) == ("a", "order-1", False)

    @pytest.mark.parametrize("tags", [["env"], ["env=1", "--tag", "env=2"]])
    def test_a_tag_that_is_none_is_wrong_usage(self, run: Run, tags: list[str]) -> None:
        for command in (["list"], ["start", "echo"]):
            result = run(*command, "--tag", *tags)
            assert (result.exit_code, "NAME=VALUE" in result.stderr) == (2, True)

    @pytest.mark.parametrize("option", ["--since", "--until"])
    @pytest.mark.parametrize("time", ["yesterday", "2026-01-01", ""])
    def test_a_time_that_is_none_is_wrong_usage_and_both_forms_are_told(self, run: Run, option: str, time: str) -> None:
        result = run("list", option, time)
        assert result.exit_code == 2
        told = " ".join(result.stderr.replace("│", "").split())
        assert f"Invalid value for {option}: {time!r} should be how long ago, such as 2h, or an RFC 3339 time" in told

    def test_an_unknown_status_exits_1(self, run: Run, server: LocalServer) -> None:
        result = run("list", "--status", "runing", url=server.url)
        assert (result.exit_code, "'runing'" in result.stderr) == (1, True)

    def test_a_limit_below_one_is_wrong_usage(self, run: Run) -> None:
        assert run("list", "--limit", "0").exit_code == 2


class TestShow:
    def test_it_tells_the_story(self, run: Run, server: LocalServer) -> None:
        started(server, "onboarding", input={"user": "alice"}, id="o")
        server.do(server.engine.send_event("o", "confirmed", {"ok": True}, event_id="evt_1"))
        server.do(server.engine.wait("o", 10))
        result = run("show", "o", url=server.url)
        assert result.exit_code == 0
        head, created, titles, *lines = result.output.splitlines()
        assert head == "o  onboarding  completed"
        assert created.startswith("created ")
        assert titles.split() == ["AT", "WHAT", "NAME", "TOOK"]
        text = "\n".join(" ".join(line.split()) for line in lines)
        for words in (
            'started onboarding {"user":"alice"}',
            'event confirmed evt_1 {"ok":true}',
            "step create account",
            "retry mail",
            "attempt 1 failed: no route\\x1b[2J; retry in ",
            "sleep settle 10 ms until ",
            "event taken confirmed",
            "completed ",
        ):
            assert words in text
        assert all(line.startswith("+") for line in lines)

    def test_it_tells_where_the_traceback_of_a_failure_is(self, run: Run, server: LocalServer) -> None:
        ended(server, "raising", id="r")
        assert "tracebacks: pylon-workflows history r --json, field stack\n" in run("show", "r", url=server.url).output
        assert '"stack": "Traceback"' in run("history", "r", "--json", url=server.url).output
        ended(server, "broken", id="b")
        assert "tracebacks" not in run("show", "b", url=server.url).output

    def test_it_tells_what_the_instance_waits_for(self, run: Run, server: LocalServer) -> None:
        started(server, "patient", id="p")
        server.do(server.engine.send_event("p", "other"))
        while "waits for" not in (output := run("show", "p", url=server.url).output):
            pass
        assert output.splitlines()[-1].startswith("waits for the event paid until ")
        assert output.endswith("(in 59m 59s)\n") or output.endswith("(in 1h)\n")

    def test_it_prints_json(self, run: Run, server: LocalServer) -> None:
        ended(server, "echo", input={"é": 1}, id="e")
        value = json.loads(run("show", "e", "--json", url=server.url).output)
        assert (value["id"], value["output"]) == ("e", {"input": {"é": 1}})
        assert [entry["type"] for entry in value["history"]] == [
            "instance_started",
            "run_started",
            "instance_completed",
        ]

    @pytest.mark.parametrize("id", ["nobody", "a/b", "a?b", "a b", "é", "%", ".."])
    def test_an_unknown_instance_exits_1(self, run: Run, server: LocalServer, id: str) -> None:
        result = run("show", id, url=server.url)
        assert result.exit_code == 1
        assert "no instance has the id" in result.stderr or "no path" in result.stderr


class TestSteering:
    def test_an_event_is_sent_once_per_id(self, run: Run, server: LocalServer) -> None:
        started(server, "patient", id="p")
        first = run("send-event", "p", "noted", "--data", '{"n": 1}', "--event-id", "1", url=server.url)
        again = run("send-event", "p", "noted", "--event-id", "1", url=server.url)
        as_json = run("send-event", "p", "noted", "--event-id", "1", "--json", url=server.url)
        assert (first.output, again.output) == ("accepted\n", "had been accepted already\n")
        assert json.loads(as_json.output) == {"ok": True, "duplicate": True}
        [unread] = server.do(server.engine.get("p")).inbox
        assert unread.data_json == b'{"n":1}'

    def test_data_that_is_no_json_is_wrong_usage(self, run: Run) -> None:
        assert run("send-event", "p", "noted", "--data", "x").exit_code == 2

    def test_cancel_and_delete(self, run: Run, server: LocalServer) -> None:
        started(server, "patient", id="p")
        refused = run("delete", "p", url=server.url)
        assert refused.exit_code == 1
        assert run("cancel", "p", url=server.url).output == "cancelled p\n"
        assert json.loads(run("cancel", "p", "--json", url=server.url).output) == {"cancelled": True}
        assert run("delete", "p", url=server.url).output == "deleted p\n"
        assert run("delete", "p", url=server.url).exit_code == 1

    def test_resume_lets_a_blocked_one_go_on(self, run: Run, server: LocalServer) -> None:
        instance_id = blocked(server, run)
        assert f"pylon-workflows resume {instance_id}\n" in run("show", instance_id, url=server.url).output
        assert run("resume", instance_id, url=server.url).output == f"resumed {instance_id}: running\n"
        started(server, "patient", id="p")
        refused = run("resume", "p", url=server.url)
        assert (refused.exit_code, "not blocked" in refused.stderr) == (1, True)


class TestTokens:
    @pytest.fixture
    def server(self) -> Any:
        with LocalServer(token="s3cret") as server:
            yield server

    def test_the_token_comes_from_the_option_or_the_environment(
        self, run: Run, server: LocalServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert run("list", "--token", "s3cret", url=server.url).exit_code == 0
        monkeypatch.setenv("PYLON_WORKFLOW_TOKEN", "s3cret")
        monkeypatch.setenv("PYLON_WORKFLOW_URL", server.url)
        assert run("list").exit_code == 0

    def test_without_it_the_answer_says_how_to_give_it(self, run: Run, server: LocalServer) -> None:
        for more in ([], ["--token", "wrong"]):
            result = run("list", *more, url=server.url)
            assert result.exit_code == 1
            assert "PYLON_WORKFLOW_TOKEN" in result.stderr


class TestHistory:
    def test_it_is_a_line_a_transition(self, run: Run, server: LocalServer) -> None:
        instance_id = ended(server, "echo")
        titles, first, *rest = run("history", instance_id, url=server.url).output.splitlines()
        assert titles.split() == ["REVISION", "AT", "WHAT", "NAME", "TOOK"]
        assert (first.split()[0], first.split()[2:4]) == ("1", ["started", "echo"])
        assert [line.split()[0] for line in rest] == ["2", "3"]
        (last,) = run("history", instance_id, "--after", "2", url=server.url).output.splitlines()[1:]
        assert last.split() == rest[1].split()

    def test_it_prints_json_through_all_pages(
        self, run: Run, server: LocalServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        instance_id = ended(server, "echo")
        monkeypatch.setattr(handlers, "MAX_HISTORY_PAGE", 1)
        history = json.loads(run("history", instance_id, "--json", url=server.url).output)
        assert [entry["type"] for entry in history] == ["instance_started", "run_started", "instance_completed"]
        assert json.loads(run("history", instance_id, "--json", "--after", "2", url=server.url).output) == history[2:]
        assert json.loads(run("show", instance_id, "--json", url=server.url).output)["history"] == history


class TestMany:
    def test_a_filter_cancels_and_resumes_many_and_is_asked_about_first(self, run: Run, server: LocalServer) -> None:
        for number in range(3):
            started(server, "patient", id=f"p{number}", tags={"n": str(number % 2)})
        blocked(server, run)
        result = run("cancel", "--tag", "n=0", url=server.url, input="n\n")
        assert (result.exit_code, "cancel 2 instances?" in result.stderr) == (1, True)
        result = run("cancel", "--tag", "n=0", url=server.url, input="y\n")
        assert (result.exit_code, result.stdout) == (0, "cancelled 2 instances\n")
        result = run("cancel", "--name", "patient", "--status", "waiting", "--since", "1h", "--yes", url=server.url)
        assert (result.exit_code, result.stdout) == (0, "cancelled 1 instance\n")
        result = run("resume", "--status", "blocked", "--yes", "--json", url=server.url)
        assert json.loads(result.stdout) == {"count": 1, "failures": []}
        assert run("cancel", "--all", "--yes", url=server.url).exit_code == 0
        assert {item["status"] for item in json.loads(run("list", "--json", url=server.url).output)} == {"cancelled"}

    def test_what_chooses_none_is_not_asked_about_and_changes_nothing(self, run: Run, server: LocalServer) -> None:
        for command, done in (("cancel", "cancelled"), ("resume", "resumed")):
            result = run(command, "--name", "patient", url=server.url)
            assert (result.exit_code, result.output) == (0, f"{done} 0 instances\n")
            result = run(command, "--name", "patient", "--json", url=server.url)
            assert json.loads(result.stdout) == {"count": 0, "failures": []}

    def test_it_goes_through_all_pages(self, run: Run, server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bulk, "_PAGE", 2)
        for number in range(5):
            started(server, "patient", id=f"p{number}")
        assert run("cancel", "--name", "patient", "--yes", url=server.url).stdout == "cancelled 5 instances\n"

    @pytest.mark.parametrize("command", ["cancel", "resume"])
    @pytest.mark.parametrize("arguments", [[], ["a", "--name", "order"], ["a", "--all"], ["--all", "--name", "order"]])
    def test_what_is_meant_must_be_said_once(self, run: Run, command: str, arguments: list[str]) -> None:
        result = run(command, *arguments)
        assert (result.exit_code, "give an ID; or choose" in result.stderr) == (2, True)

    def test_what_the_server_refuses_exits_1(self, run: Run, server: LocalServer) -> None:
        result = run("cancel", "--status", "completed", "--yes", url=server.url)
        assert (result.exit_code, "status: this cannot be done" in result.stderr) == (1, True)
