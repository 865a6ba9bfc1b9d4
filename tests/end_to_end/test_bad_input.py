"""Callers hear what they do wrong, in a 4xx that names the field; whoever starts `serve`, what is wrong with a file."""

import random
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from pylon_workflows.store.migrations import APPLICATION_ID
from tests.end_to_end.processes import COMMAND, Api, Processes, run

pytestmark = pytest.mark.slow

DEEP = b"[" * 65 + b"]" * 65


@pytest.fixture(scope="module")
def api(shared_processes: Processes) -> Api:
    return shared_processes.serve(shared_processes.runner("python"), "--workflow", "onboarding:3")


@pytest.fixture(scope="module")
def waiting(api: Api) -> str:
    """An instance that waits, unhurt by all of this."""
    api.start("onboarding", {"user": "alice", "pause": "10ms"}, id="waiting")
    api.until("waiting", "waiting_for_event")
    return "waiting"


START, EVENT, DEFINE = "/start", "/waiting/event", "/definitions"


@pytest.mark.parametrize(
    ("path", "body", "status", "named"),
    [
        (START, b'{"name":"unheard-of"}', 404, "unheard-of"),
        (START, b"", 400, "the body"),
        (START, b"{", 400, "the body"),
        (START, b"null", 400, "the body"),
        (START, b'{"name":"\xff"}', 400, "the body"),
        (START, b'{"name":"onboarding","input":NaN}', 400, "NaN"),
        (START, b'{"name":"onboarding","input":1e999}', 400, "1e999"),
        (START, b'{"name":"onboarding","input":{"a":1,"a":2}}', 400, "'a'"),
        (START, b'{"name":"onboarding","input":' + DEEP + b"}", 400, "input"),
        (START, b'{"name":"onboarding","input":"' + b"x" * 1024 * 1024 + b'"}', 413, "1048576"),
        (START, b"{}", 400, "name"),
        (START, b'{"name":7}', 400, "name"),
        (START, b'{"name":""}', 400, "name"),
        (START, b'{"name":"onboarding","id":"a/b"}', 400, "id"),
        (START, b'{"name":"onboarding","id":"start"}', 400, "id"),
        (START, b'{"name":"onboarding","id":["a"]}', 400, "id"),
        (START, b'{"name":"onboarding","idempotency_key":""}', 400, "idempotency_key"),
        (START, b'{"name":"onboarding","id":"waiting","input":1}', 409, "waiting"),
        (EVENT, b'{"data":1}', 400, "event"),
        (EVENT, b'{"event":["paid"]}', 400, "event"),
        (EVENT, b'{"event":"paid","data":-Infinity}', 400, "Infinity"),
        (EVENT, b'{"event":"paid","data":' + DEEP + b"}", 400, "data"),
        (EVENT, b'{"event":"paid","data":"' + b"x" * 256 * 1024 + b'"}', 413, "data"),
        (EVENT, b'{"event":"paid","event_id":7}', 400, "event_id"),
        ("/nobody/event", b'{"event":"paid"}', 404, "nobody"),
        ("/nobody/cancel", b"", 404, "nobody"),
        ("/nobody/resume", b"", 404, "nobody"),
        ("/a%20b/advance", b"", 404, "a b"),
        ("/waiting/resume", b"", 409, "waiting"),
        (DEFINE, b'{"name":"x","max_retries":-1}', 400, "max_retries"),
        (DEFINE, b'{"name":"x","max_retries":"3"}', 400, "max_retries"),
        (DEFINE, b'{"name":"x","step_timeout_s":-5}', 400, "step_timeout_s"),
        (DEFINE, b'{"name":"x","step_timeout_s":"soon"}', 400, "step_timeout_s"),
        (DEFINE, b'{"name":"x","step_timeout_s":1e300}', 400, "step_timeout_s"),
    ],
)  # fmt: skip
def test_a_bad_request_is_a_4xx_that_names_what_is_wrong(
    api: Api, waiting: str, *, path: str, body: bytes, status: int, named: str
) -> None:
    before = api.history(waiting)
    answer = api.http.post(path, content=body)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert named in answer.json()["detail"]
    assert answer.json()["status"] == status
    assert api.http.get("/healthz").status_code == 200
    assert api.history(waiting) == before


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("limit=0", "limit"),
        ("limit=many", "limit"),
        ("status=sad", "status"),
        ("after=a/b", "after"),
        ("name=", "name"),
    ],
)
def test_a_bad_filter_is_a_400_that_names_it(api: Api, query: str, named: str) -> None:
    answer = api.http.get(f"/?{query}")
    assert (answer.status_code, answer.json()["detail"].split(":")[0]) == (400, named)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST %s/start HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 100\r\n\r\n{",
        b"POST %s/start HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 99999999999\r\n\r\n",
        b"POST %s/start HTTP/1.1\r\nhost: 127.0.0.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"POST %s/start HTTP/1.1\r\nhost: 127.0.0.1\r\ntransfer-encoding: chunked\r\n\r\n200000\r\n" + b"x" * 0x200000,
        b"GET %s/ HTTP/1.1\r\nhost: 127.0.0.1\r\nx: " + b"a" * 1_000_000 + b"\r\n\r\n",
    ],
)
def test_a_caller_that_does_not_speak_http_harms_nobody(api: Api, waiting: str, request_bytes: bytes) -> None:
    parts = urlsplit(api.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as connection:
        try:
            connection.sendall(request_bytes.replace(b"%s", parts.path.encode()))
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(65536)
        except OSError:  # it has hung up
            answer = b""
    assert not answer or answer.startswith((b"HTTP/1.1 4",))
    assert api.get(waiting)["status"] == "waiting_for_event"


def test_a_foreign_page_and_a_proxy_are_refused_without_a_token(api: Api) -> None:
    for headers in ({"origin": "https://example.org"}, {"host": "example.org"}, {"x-forwarded-for": "10.0.0.7"}):
        assert api.http.post(START, headers=headers, json={"name": "onboarding"}).status_code == 403


def test_with_a_token_nobody_else_is_let_in(processes: Processes) -> None:
    runner = processes.runner("python")
    api = processes.serve(runner, "--workflow", "onboarding", "--token", "secret")
    assert [httpx.get(f"{api.url}{path}", trust_env=False).status_code for path in ("/", "/healthz")] == [401, 200]
    for name, status in (("secret", 200), ("wrong", 401)):
        assert api.http.get("/", headers={"authorization": f"Bearer {name}"}).status_code == status


def test_after_all_of_this_it_still_drives(api: Api, waiting: str) -> None:
    api.event(waiting, "user_confirmed", "yes")
    api.until(waiting, "completed")
    assert "Traceback" not in api.process.said()


def noise(file: Path) -> None:
    file.write_bytes(random.Random(1).randbytes(10_000))


def damaged(file: Path) -> None:
    newer(file)
    content = file.read_bytes()
    file.write_bytes(content[:100] + b"\xff" * 400 + content[500:])


def cut_short(file: Path) -> None:
    newer(file)
    file.write_bytes(file.read_bytes()[:60])


def newer(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 99")
        connection.execute("CREATE TABLE instances (key INTEGER PRIMARY KEY)")
        connection.commit()


def someone_elses(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE letters (body TEXT)")
        connection.commit()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (noise, "restore a backup, or name another file"),
        (damaged, "restore a backup"),
        (cut_short, "restore a backup"),
        (newer, "upgrade pylon-workflows"),
        (someone_elses, "name another file"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_what_to_do_and_left_as_it_is(
    tmp_path: Path, make: Callable[[Path], Any], said: str
) -> None:
    file = tmp_path / "workflows.db"
    make(file)
    content = file.read_bytes()
    done = run(COMMAND, "serve", "--db", str(file), "--port", "0")
    assert (done.returncode, done.stdout) == (1, "")
    sentence = done.stderr.strip()
    assert sentence.startswith("Error: ")
    assert (len(sentence.splitlines()), said in sentence, str(file) in sentence) == (1, True, True), sentence
    assert file.read_bytes() == content
    assert {path.name for path in tmp_path.iterdir()} <= {"workflows.db", "workflows.db.lock"}
