"""What every `SecretStore` does: `StoreContract`'s implementations subclass this one too."""

import asyncio

import pytest

from pylon_workflows.errors import StoreError
from pylon_workflows.ports import Store


class SecretStoreContract:
    """Uses the fixture `store` and the method `reopen` of `StoreContract`."""

    async def test_a_secret_is_kept_and_comes_back_also_after_a_restart(self, store: Store) -> None:
        assert await store.secrets.get("hooks") is None
        assert await store.secrets.keep("hooks", b"\x00first") == b"\x00first"
        store = await self.reopen(store)  # type: ignore[attr-defined]
        assert await store.secrets.get("hooks") == b"\x00first"
        assert await store.secrets.get("others") is None

    async def test_the_first_secret_of_a_name_stays(self, store: Store) -> None:
        await store.secrets.keep("hooks", b"first")
        assert await store.secrets.keep("hooks", b"second") == b"first"
        assert await store.secrets.keep("others", b"third") == b"third"
        assert await store.secrets.get("hooks") == b"first"

    async def test_all_who_keep_one_at_once_get_the_same(self, store: Store) -> None:
        kept = await asyncio.gather(*(store.secrets.keep("hooks", b"%d" % number) for number in range(20)))
        assert set(kept) == {await store.secrets.get("hooks")}

    async def test_a_closed_store_tells_no_secrets(self, store: Store) -> None:
        await store.close()
        with pytest.raises(StoreError):
            await store.secrets.keep("hooks", b"first")
        with pytest.raises(StoreError):
            await store.secrets.get("hooks")
