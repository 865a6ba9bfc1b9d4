"""The command `python -m runner_protocol.conformance`: its options, its report, its exit status."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from runner_protocol.conformance import __main__ as command
from runner_protocol.conformance.cases import choose_cases, load_cases
from runner_protocol.conformance.checker import play
from runner_protocol.conformance.exchange import Call, Reply

from .front import Front
from .in_process import Loop
from .reference import Turn
from .wrong.keys import NumbersNoKeys

Capture = pytest.CaptureFixture[str]


@contextmanager
def served(turn: type[Turn] = Turn, *, hangs_up: bool = False) -> Iterator[str]:
    """Serve the reference runner, or a wrong one, on a real socket."""
    front = Front()
    front.turn = turn

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            if hangs_up:
                return
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {"accept": self.headers.get("accept", "")}
            reply = asyncio.run(front.reply(Call(self.command, headers, body)))
            self.send_response(reply.status)
            for name, value in {**reply.headers, "content-length": str(len(reply.body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body)

        do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = False
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/run"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def nobody() -> str:
    """An address where nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}/run"


def test_a_runner_that_keeps_every_rule_ends_with_status_0(capsys: Capture) -> None:
    with served() as url:
        assert command.main([url, "--profile", "kit"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"{len(choose_cases(load_cases(), [], 'kit'))} passed, 0 failed"
    assert "ok    a-second-step-runs-after-the-first" in lines


def test_a_stream_is_read_line_by_line(capsys: Capture) -> None:
    with served() as url:
        assert (
            command.main([url, "--case", "an-answer-can-be-a-stream", "--case", "after-a-failure-nothing-begins"]) == 0
        )
    assert capsys.readouterr().out.splitlines()[-1] == "2 passed, 0 failed"


def test_a_failed_case_is_reported_with_its_rule_what_was_expected_and_what_came(capsys: Capture) -> None:
    name = "repeated-names-get-numbered-keys"
    with served(NumbersNoKeys) as url:
        assert command.main([url, "--case", name, "--case", "get-is-405"]) == 1
    out = capsys.readouterr().out
    assert f"FAIL  {name}\n      rule K1: A name used again gets" in out
    assert "turn 2 of 3: the second" in out
    assert '- answer.key: expected "item#2", got "item"' in out
    assert 'sent: POST {"workflow_id":"conformance-' in out
    assert 'came: 200 {"action":"step_complete"' in out
    assert out.splitlines()[-1] == "1 passed, 1 failed"


def test_json_is_one_object_with_the_counts_and_every_case(capsys: Capture) -> None:
    with served(NumbersNoKeys) as url:
        assert command.main([url, "--json", "--case", "repeated-names-get-numbered-keys", "--case", "get-is-405"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["passed"], report["failed"], report["url"]) == (1, 1, url)
    failed, passed = report["cases"]
    assert (failed["rules"], failed["passed"], failed["problem"]["turn"]) == (["K1"], False, 2)
    assert (passed["name"], passed["passed"]) == ("get-is-405", True)
    assert "problem" not in passed


def test_the_list_names_every_case_with_its_rule_and_asks_no_runner(capsys: Capture) -> None:
    assert command.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [case.name for case in load_cases()]
    assert any("K1" in line and "name#2" in line for line in lines)


def test_the_plain_profile_plays_the_plain_cases_only(capsys: Capture) -> None:
    with served() as url:
        assert command.main([url, "--profile", "plain"]) == 0
    plain = sum(case.profile == "plain" and not case.is_signed for case in load_cases())
    assert capsys.readouterr().out.splitlines()[-1] == f"{plain} passed, 0 failed"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "say which runner to check"),
        (["ftp://127.0.0.1/run"], "is no http or https URL"),
        (["http:///run"], "is no http or https URL"),
        (["http://127.0.0.1/run", "--case", "no-such-case"], "no case is named 'no-such-case'"),
    ],
)
def test_wrong_usage_ends_with_status_2_and_a_sentence(capsys: Capture, arguments: list[str], sentence: str) -> None:
    assert command.main(arguments) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--timeout", "0"], ["--timeout", "soon"], ["--profile", "perfect"]])
def test_an_option_that_makes_no_sense_ends_with_status_2(capsys: Capture, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(arguments)
    assert ended.value.code == 2
    assert "usage:" in capsys.readouterr().err


class AnswersNoAction(Turn):
    async def answer(self) -> dict[str, Any]:
        return {"ok": True}


class AnswersWith404(Front):
    def encode(self, action: dict[str, Any]) -> Reply:
        return Reply(404, {}, super().encode(action).body)


class AnswersFailuresWith500(Front):
    def encode(self, action: dict[str, Any]) -> Reply:
        return Reply(500 if action["action"] == "fail" else 200, {}, super().encode(action).body)


def played(loop: Loop, front: Front, name: str) -> str:
    """Play one case and say what was wrong."""
    (case,) = choose_cases(load_cases(), [name], "kit")
    problem = play(case, loop.exchange_with(front.reply))
    return "" if problem is None else " ".join(problem.wrong)


def test_an_answer_that_is_no_action_is_named_as_the_engine_names_it(loop: Loop) -> None:
    front = Front()
    front.turn = AnswersNoAction
    wrong = played(loop, front, "a-second-step-runs-after-the-first")
    assert "the body is no proper action: action: the field is missing" in wrong


def test_an_action_with_a_status_that_the_engine_does_not_read_is_wrong(loop: Loop) -> None:
    wrong = played(loop, AnswersWith404(), "a-second-step-runs-after-the-first")
    assert wrong == "status: expected 200, got 404"


def test_a_failure_may_be_answered_with_500_as_runners_of_version_1_do(loop: Loop) -> None:
    assert played(loop, AnswersFailuresWith500(), "a-plain-failure-names-its-step") == ""


def test_an_address_where_nothing_listens_ends_with_status_2(capsys: Capture, nobody: str) -> None:
    assert command.main([nobody]) == 2
    assert "cannot connect to 127.0.0.1" in capsys.readouterr().err


def test_a_runner_that_hangs_up_fails_its_cases(capsys: Capture) -> None:
    with served(hangs_up=True) as url:
        assert command.main([url, "--case", "get-is-405"]) == 1
    out = capsys.readouterr().out
    assert "the connection broke" in out
    assert "came: no reply" in out


def test_a_runner_that_never_answers_costs_one_timeout_a_case(capsys: Capture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/run"
        assert command.main([url, "--case", "get-is-405", "--timeout", "0.05"]) == 1
    assert "no reply within 0.05 s" in capsys.readouterr().out
