"""The HTTP side of the reference runner: reads a request, refuses what is none, writes the answer."""

import time
from collections.abc import AsyncGenerator
from typing import Any, ClassVar, cast

from runner_protocol.conformance.exchange import Call, Reply
from runner_protocol.signing import SignatureError, SigningKeys
from runner_protocol.strict_json import JsonError, encode_parsed, parse

from .held import description, held
from .reference import Turn

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
JSON, NDJSON = "application/json", "application/x-ndjson"
REQUEST_FIELDS: dict[str, type] = {
    "workflow_id": str,
    "workflow_name": str,
    "current_step": int,
    "completed_steps": list,
}
MEMBER_FIELDS = ("group", "name", "key", "index", "total")
Lines = AsyncGenerator[dict[str, Any], None]


class MalformedError(Exception):
    """The request is none; the message names the field."""


class Front:
    """Made anew for each case."""

    fails: ClassVar[frozenset[str]] = frozenset()
    turn: type[Turn] = Turn
    secret: str | None = None

    async def reply(self, call: Call) -> Reply:
        if call.method != "POST":
            return Reply(405, {"allow": "POST"}, b"")
        try:
            if self.secret is not None:
                self.check_signature(call, SigningKeys([self.secret]))
        except SignatureError as error:
            return Reply(401, {"content-type": "text/plain"}, str(error).encode())
        try:
            request = self.read(call.body)
        except MalformedError as error:
            return Reply(400, {"content-type": "text/plain"}, str(error).encode())
        if request.get("mode", "advance") == "advance" and not isinstance(self.held(request), str):
            is_stream = self.accepts_lines(call)
            return await self.stream(request, call.stop_after) if is_stream else self.encode(await self.answer(request))
        return self.encode(await self.other(request))

    def check_signature(self, call: Call, keys: SigningKeys) -> None:
        keys.check(self.headers(call), call.body, now_s=time.time())

    def headers(self, call: Call) -> list[tuple[bytes, bytes]]:
        return [(name.encode(), value.encode()) for name, value in call.headers.items()]

    async def other(self, request: dict[str, Any]) -> dict[str, Any]:
        if request.get("mode") == "describe":
            return self.description()
        if isinstance(self.held(request), str):
            return self.unknown(request)
        return await self.turn(request).member()

    async def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        return await self.turn(request).answer()

    async def stream(self, request: dict[str, Any], stop_after: int | None) -> Reply:
        lines = cast(Lines, self.turn(request).lines())
        written: list[bytes] = []
        while len(written) != stop_after and (action := await anext(lines, None)) is not None:
            written.append(self.line(action))
        await self.let_go(lines)
        return Reply(200, {"content-type": NDJSON}, b"".join(written))

    async def let_go(self, lines: Lines) -> None:
        await lines.aclose()

    def line(self, action: dict[str, Any]) -> bytes:
        return encode_parsed(action) + b"\n"

    def accepts_lines(self, call: Call) -> bool:
        accepted = [kind.replace(" ", "") for kind in call.headers.get("accept", "").split(",")]
        return NDJSON in accepted

    def held(self, request: dict[str, Any]) -> Any:
        return held(request)

    def description(self) -> dict[str, Any]:
        return description()

    def unknown(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"action": "defer", "retry_after": "5s", "reason": held(request)}

    def read(self, body: bytes) -> dict[str, Any]:
        request = self.parse(body)
        if request.get("mode") == "describe":
            return request
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
        mode = request.get("mode", "advance")
        if mode not in ("advance", "run_step"):
            raise MalformedError("mode is not known")
        if mode == "run_step":
            self.check_member(request)

    def check_member(self, request: dict[str, Any]) -> None:
        if not isinstance(request.get("member"), dict):
            raise MalformedError("member is missing")
        for name in MEMBER_FIELDS:
            if name not in request["member"]:
                raise MalformedError(f"member.{name} is missing")

    def check_record(self, record: dict[str, Any]) -> None:
        if "name" not in record:
            raise MalformedError("completed_steps: name is missing")
        if record.get("status") not in ("completed", "failed", "skipped"):
            raise MalformedError("completed_steps: status is not known")

    def encode(self, action: dict[str, Any]) -> Reply:
        return Reply(200, {"content-type": JSON}, encode_parsed(action))
