"""What every `TokenStore` does: `StoreContract`'s implementations subclass this one too."""

import asyncio
from dataclasses import replace

import pytest

from pylon_workflows.errors import StoreError
from pylon_workflows.ports import Store
from pylon_workflows.tokens import Token
from tests.contracts.store_contract import BEGINNING, at

SENDER = Token(
    id="abcdefghijk1",
    hash=bytes(range(32)),
    scopes=frozenset({"start", "event"}),
    created_at=BEGINNING,
    expires_at=at(100),
    note="the sh\u00f6p",
)


class TokenStoreContract:
    """Uses the fixture `store` and the method `reopen` of `StoreContract`."""

    async def test_a_token_comes_back_as_it_was_kept_also_after_a_restart(self, store: Store) -> None:
        later = replace(SENDER, id="0", created_at=at(1), expires_at=None, note="", scopes=frozenset({"admin"}))
        for token in (later, SENDER):
            await store.tokens.save(token)
        store = await self.reopen(store)  # type: ignore[attr-defined]
        assert (await store.tokens.all(), await store.tokens.count()) == ([SENDER, later], 2)

    async def test_one_that_is_there_stays_as_it_is(self, store: Store) -> None:
        for token in (SENDER, replace(SENDER, scopes=frozenset({"admin"}), hash=bytes(32))):
            await store.tokens.save(token)
        assert await store.tokens.all() == [SENDER]

    async def test_one_that_was_deleted_is_gone_also_after_a_restart(self, store: Store) -> None:
        await store.tokens.save(SENDER)
        assert [await store.tokens.delete(SENDER.id) for _ in range(2)] == [True, False]
        store = await self.reopen(store)  # type: ignore[attr-defined]
        assert (await store.tokens.all(), await store.tokens.count()) == ([], 0)

    async def test_many_at_once_are_all_kept(self, store: Store) -> None:
        tokens = [replace(SENDER, id=f"{n:012}", created_at=at(n)) for n in range(100)]
        await asyncio.gather(*(store.tokens.save(token) for token in tokens))
        assert await store.tokens.all() == tokens

    async def test_a_closed_store_refuses_tokens(self, store: Store) -> None:
        await store.close()
        for call in (store.tokens.all(), store.tokens.save(SENDER), store.tokens.count(), store.tokens.delete("x")):
            with pytest.raises(StoreError):
                await call
