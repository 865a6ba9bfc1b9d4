"""What users call on an engine about tokens of the API: done in this process, or by whichever process owns the file."""

from collections.abc import Collection, Sequence
from datetime import timedelta

from pylon_workflows.engine import LocalEngine
from pylon_workflows.ownership import token_requests
from pylon_workflows.ownership.access import Access
from pylon_workflows.tokens import Token, check_token_id, new_token


class TokenCalls:
    """The calls of a `WorkflowEngine` about tokens; see `EngineCalls`."""

    _engine: LocalEngine
    _access: Access

    async def create_token(
        self, scopes: Collection[str], *, expires_in: timedelta | None = None, note: str = ""
    ) -> str:
        """Make a token that may do what its scopes say, and return its text: it is shown now and never again.

        `scopes` are of `start`, `event`, `read`, `cancel` and `admin`, which may do everything. As soon as there is a
        token, the API answers nobody without one.

        Raises:
            InvalidInputError: no scope or an unknown one, a time that is not positive, a long note.
            TooManyTokensError: 1,000.
        """
        token, text = new_token(scopes, now=self._engine.clock.now(), expires_in=expires_in, note=note)
        await self._access.change(lambda: self._engine.save_token(token), lambda: token_requests.save(token))
        return text

    async def revoke_token(self, token_id: str) -> None:
        """Let a token count no more, at once; its id or its text tells which. Raises UnknownTokenError."""
        found = check_token_id(token_id)
        await self._access.change(lambda: self._engine.revoke_token(found), lambda: token_requests.revoke(found))

    async def tokens(self) -> Sequence[Token]:
        """All tokens, the oldest first; those that have expired too."""
        return await self._access.read(lambda source: source.tokens())

    async def find_token(self, token_id: str) -> Token | None:
        """The token of that id, whether it has expired or not, or None."""
        return await self._access.read(lambda source: source.find_token(token_id))

    async def has_tokens(self) -> bool:
        """Whether there are any, so that the API wants one."""
        return await self._access.read(lambda source: source.has_tokens())
