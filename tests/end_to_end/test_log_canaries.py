"""No log line holds a body, a token, a signature or a query string: real processes, with canaries in all of them."""

import json
import sys
from pathlib import Path

import httpx
import pytest

from tests.end_to_end.processes import Api, Processes

pytestmark = pytest.mark.slow

CANARY = "canary4711"
SECRET = "whsec_" + "Q0FO" * 8
RUNNER = f"""
import sys
from runner_protocol import Runner, workflow


@workflow("order")
async def order(ctx, input):
    async def fail():
        raise ValueError("{CANARY} in an error")
    async def answer():
        return {{"card": "{CANARY}"}}
    await ctx.step("card", answer)
    event = await ctx.wait_for_event("paid")
    if event.get("fail"):
        await ctx.step("refuse", fail, retries=0)
    return {{"output": "{CANARY}", **event}}

Runner([order]).serve(port=0)
"""
GARBAGE = f"""
import http.server

class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        body = b'{{"action": "{CANARY}", "x": "{CANARY}"}}' if b"order" in self.path.encode() else b"<{CANARY}>"
        self.send_response(200); self.send_header("content-length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(f"listening on http://127.0.0.1:{{server.server_port}}/run", flush=True)
server.serve_forever()
"""


def bad_requests(api: Api) -> None:
    """Each is refused; their bodies, queries and headers hold the canary."""
    base = api.url.removesuffix("/api/workflows")
    with httpx.Client(trust_env=False) as http:
        for method, path, body, headers in [
            ("POST", "/start", f'{{"name": "{CANARY}'.encode(), {}),
            ("POST", "/start", json.dumps({"name": "order", "input": {CANARY: 1}, "tags": CANARY}).encode(), {}),
            ("GET", f"/?status={CANARY}", b"", {}),
            ("GET", f"/?token={CANARY}&tag={CANARY}", b"", {}),
            ("GET", "/", b"", {"Authorization": f"Bearer {CANARY}"}),
            ("POST", "/definitions", f'{{"name": 1, "description": "{CANARY}"}}'.encode(), {}),
            ("POST", "/wf_x/event", f'{{"event": "{CANARY}"'.encode(), {"webhook-id": "x"}),
            ("POST", "/wf_x/approvals/approval:a", f'{{"decision": "{CANARY}"}}'.encode(), {}),
        ]:
            answer = http.request(method, api.url + path, content=body, headers={**api.http.headers, **headers})
            assert 400 <= answer.status_code < 500, (path, answer.status_code)
        signed = {"webhook-id": "m", "webhook-timestamp": "1", "webhook-signature": f"v1,{CANARY}"}
        for door in ("/hooks/psp", f"/hooks/psp?{CANARY}=1", f"/hooks/hook/wf_x/paid/{CANARY}"):
            assert http.post(base + door, content=CANARY, headers=signed).status_code == 401


@pytest.mark.parametrize("form", ["json", "text"])
def test_no_log_holds_what_belongs_to_others(processes: Processes, tmp_path: Path, form: str) -> None:
    (tmp_path / "runner.py").write_text(RUNNER)
    (tmp_path / "garbage.py").write_text(GARBAGE)
    (tmp_path / "hooks.toml").write_text(
        '[sources.psp]\nscheme = "standard-webhooks"\nsecret_env = ["PSP_SECRET"]\nevent = "paid"\ninstance = "{id}"\n'
    )
    runner = processes.start("runner", sys.executable, str(tmp_path / "runner.py"))
    garbage = processes.start("garbage", sys.executable, str(tmp_path / "garbage.py"))
    api = processes.serve(
        runner, "--access-log", "--log-format", form, "--token", f"token-{CANARY}", "--workflow", "odd:0",
        "--runner-for", f"odd={garbage.url()}", "--hooks", str(tmp_path / "hooks.toml"),
        more={"PSP_SECRET": SECRET},
    )  # fmt: skip
    api.http.headers["Authorization"] = f"Bearer token-{CANARY}"
    order = api.start("order", {"card": CANARY}, idempotency_key="k", tags={"note": CANARY})
    refused = api.start("order", {"card": CANARY})
    odd = api.start("odd", {"card": CANARY})
    bad_requests(api)
    api.event(order, "paid", {"by": CANARY})
    api.event(refused, "paid", {"fail": True, "by": CANARY})
    assert CANARY in json.dumps(api.until(order, "completed")["output"])
    assert CANARY in str(api.until(refused, "failed")["error"])
    waiting = api.get(odd).get("waiting_for_runner") or {}
    api.http.post(f"/{odd}/cancel")
    api.process.stop()
    assert waiting or api.process.said()
    for process in (api.process, runner):
        lines = [line for line in process.said().splitlines() if CANARY in line]
        assert lines == []
    assert "GET /api/workflows/ HTTP" in api.process.said(), "the access log, without the query"
    if form == "json":
        rows = [json.loads(line) for line in api.process.said().splitlines() if line.startswith("{")]
        assert {"uvicorn.access", "pylon_workflows.discovery"} <= {row["logger"] for row in rows}
        assert all(row["request_id"] for row in rows if row["logger"] == "pylon_workflows.api.problems")
