"""Signs a call as the engine does (PROTOCOL.md section 7), or as a case wants it wrong."""

import secrets
import time
from base64 import b64encode
from dataclasses import replace

from runner_protocol.conformance.cases import Signing
from runner_protocol.conformance.exchange import Call
from runner_protocol.signing import SigningKeys

ANOTHER_SECRET = b64encode(bytes(range(32))).decode()


def signed(call: Call, signing: Signing, secret: str) -> Call:
    """The call with the three headers, as far as `signing` wants them."""
    if not signing.by:
        return call
    keys = SigningKeys([secret if whose == "own" else ANOTHER_SECRET for whose in signing.by])
    message_id, signed_at = secrets.token_hex(8), int(time.time()) - signing.late_s
    signature = keys.sign(message_id, signed_at, call.body)
    headers = {"webhook-id": message_id, "webhook-timestamp": str(signed_at), "webhook-signature": signature}
    match signing.change:
        case None:
            pass
        case "body":
            call = replace(call, body=call.body + b" ")
        case "webhook-timestamp":
            headers["webhook-timestamp"] = str(signed_at - 1)
        case "webhook-signature":
            headers["webhook-signature"] = "v1," + ("B" if signature[3] == "A" else "A") + signature[4:]
        case name:
            headers[name] += "0"
    headers.pop(signing.leave_out or "", None)
    return replace(call, headers={**call.headers, **headers})
