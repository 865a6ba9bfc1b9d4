"""The tokens of the store in a file."""

import logging
from collections.abc import Callable, Sequence

from pylon_workflows.store import reads, token_rows
from pylon_workflows.store.group_commit import GroupCommit
from pylon_workflows.tokens import Token

_log = logging.getLogger(__name__)


class SqliteTokens:
    """A `TokenStore` over the writer and a reader of a `SqliteStore`."""

    def __init__(self, writer: Callable[[], GroupCommit], states: reads.Reader) -> None:
        self._writer = writer
        self._states = states

    async def save(self, token: Token) -> None:
        """See `TokenStore`."""
        await self._writer().submit(token_rows.save_token, token_rows.token_row(token))

    async def all(self) -> Sequence[Token]:
        """See `TokenStore`."""
        tokens, unreadable = token_rows.tokens_from(await self._states.rows(token_rows.ALL))
        for sentence in unreadable:
            _log.error("%s; it lets nobody in: revoke it, and make another", sentence)
        return tokens

    async def count(self) -> int:
        """See `TokenStore`."""
        ((count,),) = await self._states.rows(token_rows.COUNT)
        return int(count)

    async def delete(self, token_id: str) -> bool:
        """See `TokenStore`."""
        was_there: bool = await self._writer().submit(token_rows.delete_token, token_id)
        return was_there
