"""The tokens of the API as the owner of the file knows them: all of them, in memory, because it alone changes them."""

from collections.abc import Sequence

from pylon_workflows.errors import TooManyTokensError
from pylon_workflows.ports import TokenStore
from pylon_workflows.tokens import MAX_TOKENS, Token, unknown_token


class KnownTokens:
    """Looks tokens up without asking the store. `open` first: before it, none is known."""

    def __init__(self, store: TokenStore) -> None:
        self._store = store
        self._tokens: dict[str, Token] = {}
        self._count = 0

    async def open(self) -> None:
        """Learn what the store has."""
        self._tokens = {token.id: token for token in await self._store.all()}
        self._count = await self._store.count()

    @property
    def has_any(self) -> bool:
        """Whether callers need a token: an expired one, or one that cannot be read, lets nobody in and counts too."""
        return self._count > 0

    def find(self, token_id: str) -> Token | None:
        """The token of that id, whether it has expired or not."""
        return self._tokens.get(token_id)

    def all(self) -> Sequence[Token]:
        """All that can be read, the oldest first."""
        return sorted(self._tokens.values(), key=lambda token: (token.created_at, token.id))

    async def save(self, token: Token) -> None:
        """Keep a token; again changes nothing. Raises TooManyTokensError."""
        if token.id not in self._tokens and self._count >= MAX_TOKENS:
            raise TooManyTokensError(f"there are {MAX_TOKENS:,} tokens already: revoke those that nobody needs")
        await self._store.save(token)
        if token.id not in self._tokens:
            self._tokens[token.id] = token
            self._count += 1

    async def revoke(self, token_id: str) -> None:
        """Forget a token. Raises UnknownTokenError."""
        was_there = await self._store.delete(token_id)
        self._tokens.pop(token_id, None)
        if not was_there:
            raise unknown_token(token_id)
        self._count -= 1
