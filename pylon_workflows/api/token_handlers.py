"""The tokens of the owner, as standbys and the command line change them over the link."""

from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from pylon_workflows.engine import LocalEngine
from pylon_workflows.tokens import Token, checked_scopes
from runner_protocol.strict_json import parse


class TokenHandlers:
    """What can be done with the tokens of the owner's engine."""

    def __init__(self, owner: LocalEngine) -> None:
        self._owner = owner

    async def put(self, request: Request) -> Response:
        """Keep a token, of whose secret only the hash was sent."""
        terms: dict[str, Any] = parse(await request.body())
        expires_at = terms["expires_at"]
        token = Token(
            id=request.path_params["id"],
            hash=bytes.fromhex(terms["hash"]),
            scopes=checked_scopes(terms["scopes"]),
            created_at=datetime.fromisoformat(terms["created_at"]),
            expires_at=None if expires_at is None else datetime.fromisoformat(expires_at),
            note=terms["note"],
        )
        await self._owner.save_token(token)
        return Response(status_code=204)

    async def delete(self, request: Request) -> Response:
        """Forget a token."""
        await self._owner.revoke_token(request.path_params["id"])
        return Response(status_code=204)
