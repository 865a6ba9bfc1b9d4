"""`serve --notify-url`, killed before its receiver could be told: the next one tells it."""

import base64
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from runner_protocol.signing import SigningKeys
from tests.end_to_end.processes import COMMAND, Api, Processes, until

SECRET = "whsec_" + base64.b64encode(b"a secret of ours, for receivers!").decode()


class Receiver(ThreadingHTTPServer):
    """Answers 503 until it `is_up`; keeps ids and bodies of what it was sent, once the signature has been checked."""

    daemon_threads = True
    is_up = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.refused: list[str] = []
        self.taken: list[tuple[str, dict[str, Any]]] = []


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = [(name.lower().encode(), value.encode()) for name, value in self.headers.items()]
        SigningKeys([SECRET]).check(headers, body, now_s=time.time())
        is_up = self.server.is_up
        if is_up:
            self.server.taken.append((self.headers["webhook-id"], json.loads(body)))
        else:
            self.server.refused.append(self.headers["webhook-id"])
        self.send_response(204 if is_up else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    thread = threading.Thread(target=receiver.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield receiver
    finally:
        receiver.shutdown()
        receiver.server_close()
        thread.join()


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    with Processes(tmp_path) as processes:
        yield processes


def serving(processes: Processes, receiver: Receiver) -> Api:
    command = (COMMAND, "serve", "--runner", "http://127.0.0.1:9/run", "--no-discovery", "--port", "0")
    url = f"http://127.0.0.1:{receiver.server_port}/told"
    more = ("--db", str(processes.folder / "w.db"), "--workflow", "order", "--notify-url", url)
    process = processes.start("serve", *command, *more, "--notify-secret-env", "TOLD", more={"TOLD": SECRET})
    return processes.api(process.url(), process)


@pytest.mark.slow
@pytest.mark.parametrize("is_standing_by", [False, True])
def test_what_had_ended_when_it_was_killed_is_told_by_the_next(
    receiver: Receiver, processes: Processes, is_standing_by: bool
) -> None:
    api = serving(processes, receiver)
    standby = serving(processes, receiver) if is_standing_by else None
    ids = [f"wf_{number}" for number in range(5)]
    for instance_id in ids:
        api.start("order", {}, id=instance_id)
        assert api.http.post(f"/{instance_id}/cancel").status_code == 200
    api.process.kill()
    receiver.is_up = True
    again = serving(processes, receiver) if standby is None else standby
    until(lambda: {body["data"]["id"] for _, body in receiver.taken} == set(ids), "all are told")
    assert {body["type"] for _, body in receiver.taken} == {"workflow.cancelled"}
    assert set(receiver.refused) <= {message_id for message_id, _ in receiver.taken}
    assert len({message_id for message_id, _ in receiver.taken}) == len(ids), "what comes twice has one id"
    assert again.http.get("/healthz").json()["given_up_webhooks"] == 0
