"""`serve`: in this process, where a signal stops it, and as a process of its own."""

import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from pylon_workflows import server
from pylon_workflows.definitions import WorkflowDefinition
from pylon_workflows.errors import DatabaseInUseHereError, EngineNotRunningError, InvalidInputError, StoreError
from pylon_workflows.server import CannotListenError, ServeOptions, serve, serving_app
from pylon_workflows.testing import engine_in_memory
from pylon_workflows.workflow_engine import WorkflowEngine


@pytest.fixture
async def engine() -> AsyncIterator[WorkflowEngine]:
    engine = engine_in_memory(None)
    engine.register(WorkflowDefinition("onboarding"))
    async with engine:
        yield engine


@pytest.mark.parametrize("path", ["/api/workflows", "/api/workflows/"])
async def test_the_served_root_answers_with_and_without_the_slash(engine: WorkflowEngine, path: str) -> None:
    app = serving_app(engine, token=None)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        for _ in range(2):
            await client.post("/api/workflows/start", json={"name": "onboarding"})
        answer = await client.get(f"{path}?limit=1")
        assert (answer.status_code, len(answer.json())) == (200, 1)
        following = await client.get(answer.url.join(answer.links["next"]["url"]))
        assert (following.status_code, len(following.json())) == (200, 1)


async def test_serve_answers_probes_at_the_root_and_nothing_else_there(engine: WorkflowEngine) -> None:
    app = serving_app(engine, token="t")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
        assert (await client.get("/healthz")).json() == {
            "status": "ok",
            "role": "owner",
            "unexplained_instances": 0,
            "given_up_webhooks": 0,
        }
        for path in ("/", "/start", "/api/workflowsx", "/api"):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["code"]) == (404, "unknown-route")
            assert "/api/workflows" in answer.json()["detail"]
        assert (await client.get("/api/workflows/healthz")).status_code == 200
        assert (await client.get("/api/workflows")).status_code == 401


def options(tmp_path: Path, **more: Any) -> ServeOptions:
    return ServeOptions(
        runner="http://127.0.0.1:9/run",
        database=str(tmp_path / "workflows.db"),
        port=0,
        workflows=[WorkflowDefinition("onboarding")],
        **more,
    )


def get(url: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


class Visitor:
    """Hears where the server listens, visits it from another thread, and then sends this process a signal."""

    def __init__(self, visit: Callable[[str], None], number: int = signal.SIGTERM) -> None:
        self.heard: list[str] = []
        self.failure: BaseException | None = None
        self._visit = visit
        self._number = number

    def __call__(self, line: str) -> None:
        self.heard.append(line)
        threading.Thread(target=self._run, args=(line.removeprefix("listening on "),)).start()

    def _run(self, url: str) -> None:
        try:
            self._visit(url)
        except BaseException as error:
            self.failure = error
        os.kill(os.getpid(), self._number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("loop", ["auto", "asyncio", "uvloop"])
def test_serve_answers_until_a_signal_stops_it(tmp_path: Path, number: int, loop: Any) -> None:
    answers = []
    visitor = Visitor(lambda url: answers.append(get(f"{url}/definitions")), number)
    serve(options(tmp_path, loop=loop), visitor)
    assert visitor.failure is None
    assert [status for status, _ in answers] == [200]
    assert b'"onboarding"' in answers[0][1]
    [line] = visitor.heard
    assert line.startswith("listening on http://127.0.0.1:")
    assert line.endswith("/api/workflows")
    assert ":0/" not in line


def test_it_leaves_the_file_and_the_signals_as_they_were(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    for _ in range(2):
        serve(options(tmp_path), Visitor(lambda url: None))
    assert signal.getsignal(signal.SIGTERM) == before


def test_while_it_drains_callers_hear_503(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine is left while the server is still up: what comes in the meantime is told to come again."""
    is_closing, has_asked = threading.Event(), threading.Event()
    answers = []

    class Slow(WorkflowEngine):
        async def __aexit__(self, *error: Any) -> None:
            await super().__aexit__(*error)
            is_closing.set()
            while not has_asked.is_set():
                await server.asyncio.sleep(0.001)

    monkeypatch.setattr(server, "WorkflowEngine", Slow)

    def after_the_signal(url: str) -> None:
        assert is_closing.wait(10)
        answers.append(get(f"{url}/healthz"))
        has_asked.set()

    def visit(url: str) -> None:
        threading.Thread(target=after_the_signal, args=(url,)).start()

    serve(options(tmp_path), Visitor(visit))
    assert answers[0][0] == 503
    assert EngineNotRunningError.code.encode() in answers[0][1]


def test_a_second_signal_stops_it_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(WorkflowEngine):
        async def __aexit__(self, *error: Any) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            try:
                await server.asyncio.Event().wait()
            finally:
                await super().__aexit__(*error)

    monkeypatch.setattr(server, "WorkflowEngine", Endless)
    with pytest.raises(KeyboardInterrupt):
        serve(options(tmp_path), Visitor(lambda url: None))


def test_in_a_thread_it_serves_without_touching_signals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    startup = server._Server.startup

    async def remember(self: Any, sockets: Any = None) -> None:
        started.append(self)
        await startup(self, sockets)

    monkeypatch.setattr(server._Server, "startup", remember)
    answers: list[int] = []

    def visit(line: str) -> None:
        def run() -> None:
            answers.append(get(line.removeprefix("listening on ") + "/healthz")[0])
            started[0].should_exit = True

        threading.Thread(target=run).start()

    thread = threading.Thread(target=serve, args=(options(tmp_path), visit))
    thread.start()
    thread.join(20)
    assert answers == [200]


def test_a_port_that_is_taken_is_told_in_a_sentence_before_the_file_is_touched(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotListenError, match=rf"cannot listen on 127.0.0.1 port {port}: [\w ]+$"):
            serve(ServeOptions(database=str(tmp_path / "workflows.db"), port=port))
    assert not list(tmp_path.iterdir())


def test_a_host_that_is_none_of_this_machines_is_told_in_a_sentence() -> None:
    for host in ("no.such.host.invalid", "fe80::1:2:3:4"):
        with pytest.raises(CannotListenError, match=f"cannot listen on {host}"):
            serve(ServeOptions(host=host, token="t"))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "example.org"])
def test_another_host_than_loopback_wants_a_token(host: str) -> None:
    with pytest.raises(InvalidInputError, match="token"):
        ServeOptions(host=host)
    ServeOptions(host=host, token="t")


def test_with_a_token_in_the_file_another_host_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "workflows.db"

    async def changed(verb: str, *arguments: Any) -> Any:
        async with WorkflowEngine(runner=None, database=path) as engine:
            return await getattr(engine, verb)(*arguments)

    text = server.asyncio.run(changed("create_token", ["read"]))
    answers: list[int] = []

    def visit(url: str) -> None:
        for token in (text, "pw_other"):
            request = urllib.request.Request(url, headers={"authorization": f"Bearer {token}"})
            try:
                with urllib.request.urlopen(request, timeout=10) as response:
                    answers.append(response.status)
            except urllib.error.HTTPError as error:
                with error:
                    answers.append(error.code)

    visitor = Visitor(lambda url: visit(url.replace("0.0.0.0", "127.0.0.1")))
    serve(options(tmp_path, host="0.0.0.0"), visitor)
    assert (visitor.failure, answers) == (None, [200, 401])
    server.asyncio.run(changed("revoke_token", text))
    with pytest.raises(InvalidInputError, match="token create --db"):
        options(tmp_path, host="0.0.0.0")


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"allowed_hosts": ["https://a"]}, "allowed_hosts"),
        ({"cors_origins": ["*"]}, "cors_origins"),
        ({"head_timeout_s": 0}, "head_timeout_s"),
        ({"max_connections": 0}, "max_connections"),
    ],
)
def test_options_of_the_edge_that_make_no_sense_are_refused_at_once(wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInputError, match=f"{field}: "):
        ServeOptions(**wrong)


def test_the_edge_does_as_it_is_told(tmp_path: Path) -> None:
    answers: list[bytes] = []

    def visit(url: str) -> None:
        host, port = url.removeprefix("http://").partition("/")[0].split(":")
        heads = (b"GE", b"GET /api/workflows HTTP/1.1\r\nhost: other\r\nconnection: close\r\n\r\n")
        for head in heads:
            with socket.create_connection((host, int(port)), timeout=10) as caller:
                caller.sendall(head)
                answers.append(b"".join(iter(lambda: caller.recv(65536), b"")))

    visitor = Visitor(visit)
    serve(options(tmp_path, head_timeout_s=0.1, allowed_hosts=["localhost", "127.0.0.1"]), visitor)
    assert visitor.failure is None
    assert [(b"head-timeout" in answers[0]), (b"unknown-host" in answers[1])] == [True, True]
    assert [answer.split(b" ")[1] for answer in answers] == [b"408", b"421"]


def test_a_file_that_another_engine_owns_is_refused(tmp_path: Path) -> None:
    refusals: list[StoreError] = []

    def visit(_url: str) -> None:
        try:
            serve(options(tmp_path), Visitor(lambda url: None))
        except StoreError as error:
            refusals.append(error)

    visitor = Visitor(visit)
    serve(options(tmp_path), visitor)
    assert [type(error) for error in refusals] == [DatabaseInUseHereError]


def test_what_it_answers_is_sent_at_once(tmp_path: Path) -> None:
    """Nothing waits 40 ms for an acknowledgement because an answer was written in two pieces."""
    with server._listener(options(tmp_path)) as listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_ipv6_stands_in_brackets(tmp_path: Path) -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    visitor = Visitor(lambda url: None)
    try:
        serve(options(tmp_path, host="::1"), visitor)
    except CannotListenError:
        pytest.skip("no IPv6 here")
    assert visitor.heard[0].startswith("listening on http://[::1]:")


def test_uvloop_is_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    visitor = Visitor(lambda url: None)
    serve(options(tmp_path, loop="auto"), visitor)
    assert len(visitor.heard) == 1
    with pytest.raises(InvalidInputError, match=r"pylon-workflows\[fast\]"):
        serve(options(tmp_path, loop="uvloop"), visitor)


@pytest.mark.slow
class TestAsAProcess:
    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "pylon_workflows", "serve", "--port", "0", *arguments]

    def test_it_prints_its_address_and_ends_with_0_on_sigterm(self, tmp_path: Path) -> None:
        command = self.command("--db", str(tmp_path / "w.db"), "--workflow", "onboarding:5")
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            url = process.stdout.readline().strip().removeprefix("listening on ")
            assert get(f"{url}/definitions")[0] == 200
            assert get(url)[1] == b"[]"
            process.send_signal(signal.SIGTERM)
            out, errors = process.communicate(timeout=20)
        assert (process.returncode, out) == (0, "")
        assert "Traceback" not in errors

    def test_a_file_that_is_no_database_is_a_sentence_and_exit_1_and_stays_as_it_is(self, tmp_path: Path) -> None:
        file = tmp_path / "w.db"
        file.write_bytes(b"this is no database, but somebody's letter" * 100)
        result = subprocess.run(
            self.command("--db", str(file)), capture_output=True, text=True, timeout=20, check=False
        )
        assert (result.returncode, result.stdout) == (1, "")
        assert "Traceback" not in result.stderr
        assert file.read_bytes() == b"this is no database, but somebody's letter" * 100
