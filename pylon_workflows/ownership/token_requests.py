"""What a standby, or the command line, asks of the owner about tokens (see `owner_requests`). No secret is sent."""

from typing import Any

from pylon_workflows.errors import UnknownTokenError, WorkflowError
from pylon_workflows.ownership.owner_requests import OwnerRequest, Reading
from pylon_workflows.tokens import SCOPES, Token
from runner_protocol.strict_json import encode_parsed


def save(token: Token) -> OwnerRequest[None]:
    """Keep a token; again changes nothing."""
    members = {
        "hash": token.hash.hex(),
        "scopes": [scope for scope in SCOPES if scope in token.scopes],
        "created_at": token.created_at.isoformat(),
        "expires_at": None if token.expires_at is None else token.expires_at.isoformat(),
        "note": token.note,
    }
    return OwnerRequest(
        method="PUT",
        target=f"/tokens/{token.id}",
        body=encode_parsed(members),
        call=lambda engine: engine.save_token(token),
        read=_nothing,
    )


def revoke(token_id: str) -> OwnerRequest[None]:
    """Forget a token. One that is unknown when this is tried again has been forgotten by it."""

    async def read_repeated(error: WorkflowError, _reading: Reading) -> None:
        if not isinstance(error, UnknownTokenError):
            raise error

    return OwnerRequest(
        method="DELETE",
        target=f"/tokens/{token_id}",
        body=b"",
        call=lambda engine: engine.revoke_token(token_id),
        read=_nothing,
        read_repeated=read_repeated,
    )


async def _nothing(_status: int, _answer: Any, _reading: Reading) -> None:
    return None
