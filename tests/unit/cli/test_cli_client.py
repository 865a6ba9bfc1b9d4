import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from local_server import Run

from pylon_workflows.cli.client import Client, UnreachableError


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """A server that says the same bytes to whoever connects, whatever was asked."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with listener.accept()[0] as connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/api/workflows"
        thread.join()


def response(status: str, kind: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    return head.encode() + body


def test_nobody_there_exits_3_and_says_how_to_start_a_server(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/api/workflows"
    for arguments in (["list"], ["show", "x"], ["start", "x"], ["cancel", "x"], ["delete", "x"]):
        result = run(*arguments, url=url)
        assert result.exit_code == 3
        assert url in result.stderr
        assert "pylon-workflows serve" in result.stderr
        assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "answer",
    [
        response("200 OK", "text/html", b"<html>"),
        response("200 OK", "application/json", b"{not json"),
        response("404 Not Found", "text/html", b"<html>"),
        response("502 Bad Gateway", "application/json", b'{"error":"x"}'),
        response("502 Bad Gateway", "application/json", b'"x"'),
        response("302 Found", "application/json", b"{}"),
    ],
)
def test_somebody_else_there_exits_3(run: Run, answer: bytes) -> None:
    with answering(answer) as url:
        result = run("list", url=url)
    assert result.exit_code == 3
    assert url in result.stderr
    assert "is no pylon-workflows API" in result.stderr


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx"])
def test_something_that_speaks_no_http_exits_3(run: Run, answer: bytes) -> None:
    with answering(answer) as url:
        result = run("list", url=url)
    assert (result.exit_code, url in result.stderr) == (3, True)


def test_silence_ends_after_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = Client(f"http://127.0.0.1:{listener.getsockname()[1]}", None, timeout_s=0.05)
        with pytest.raises(UnreachableError, match=r"did not answer within 0\.05 s"):
            client.call("GET")


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8765", "ftp://x/", "http://", "http://x:port/", "http://[::1/", "http://é/"]
)
def test_a_url_that_is_none_is_wrong_usage(run: Run, url: str) -> None:
    result = run("list", url=url)
    assert (result.exit_code, "--url" in result.stderr) == (2, True)


def test_proxies_of_the_environment_are_not_asked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with answering(response("200 OK", "application/json", b"[]")) as url:
        assert run("list", "--json", url=url).output == "[]\n"


def test_https_is_spoken_to_https() -> None:
    with answering(b"no TLS here") as url, pytest.raises(UnreachableError, match="no server answers at https"):
        Client(url.replace("http:", "https:"), None).call("GET")


def test_a_token_that_no_header_can_carry_is_wrong_usage(run: Run) -> None:
    for token in ("é", "two words", "line\n"):
        result = run("list", "--token", token)
        assert (result.exit_code, "--token" in result.stderr) == (2, True)


@pytest.mark.parametrize("command", ["list", "start", "why", "export", "serve"])
def test_help_names_the_variables(run: Run, command: str) -> None:
    told = run(command, "--help").output
    assert "PYLON_WORKFLOW_TOKEN" in told
    assert ("PYLON_WORKFLOW_RUNNER_URL" if command == "serve" else "PYLON_WORKFLOW_URL") in told
