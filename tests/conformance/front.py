"""The HTTP side of the reference runner: reads a request, refuses what is none, writes the answer."""

from typing import Any, ClassVar

from runner_protocol.conformance.exchange import Call, Reply
from runner_protocol.conformance.workflows import WORKFLOWS
from runner_protocol.strict_json import JsonError, encode_parsed, parse

from .reference import Turn

REQUEST_FIELDS: dict[str, type] = {
    "workflow_id": str,
    "workflow_name": str,
    "current_step": int,
    "completed_steps": list,
}


class MalformedError(Exception):
    """The request is none; the message names the field."""


class Front:
    """Made anew for each case."""

    fails: ClassVar[frozenset[str]] = frozenset()
    turn: type[Turn] = Turn

    async def reply(self, call: Call) -> Reply:
        if call.method != "POST":
            return Reply(405, {"allow": "POST"}, b"")
        try:
            request = self.read(call.body)
        except MalformedError as error:
            return Reply(400, {"content-type": "text/plain"}, str(error).encode())
        return self.encode(await self.answer(request))

    async def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["workflow_name"] not in WORKFLOWS:
            return self.unknown(request)
        return await self.turn(request).answer()

    def unknown(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"action": "defer", "retry_after": "5s", "reason": f"unknown workflow '{request['workflow_name']}'"}

    def read(self, body: bytes) -> dict[str, Any]:
        request = self.parse(body)
        for name, kind in REQUEST_FIELDS.items():
            self.check_field(request, name, kind)
        self.check_mode(request)
        for record in request["completed_steps"]:
            self.check_record(record)
        return request

    def parse(self, body: bytes) -> dict[str, Any]:
        try:
            request = parse(body)
        except JsonError as error:
            raise MalformedError(str(error)) from None
        if not isinstance(request, dict):
            raise MalformedError("the request is no object")
        return request

    def check_field(self, request: dict[str, Any], name: str, kind: type) -> None:
        if name not in request:
            raise MalformedError(f"{name} is missing")
        if type(request[name]) is not kind:
            raise MalformedError(f"{name} is of the wrong type")

    def check_mode(self, request: dict[str, Any]) -> None:
        if request.get("mode", "advance") != "advance":
            raise MalformedError("mode is not known")

    def check_record(self, record: dict[str, Any]) -> None:
        if "name" not in record:
            raise MalformedError("completed_steps: name is missing")
        if record.get("status") not in ("completed", "failed", "skipped"):
            raise MalformedError("completed_steps: status is not known")

    def encode(self, action: dict[str, Any]) -> Reply:
        return Reply(200, {"content-type": "application/json"}, encode_parsed(action))
