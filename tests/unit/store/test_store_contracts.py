"""Both stores keep the contract of `ports.Store`."""

from pathlib import Path

from cryptography.fernet import Fernet

from examples.encryption.fernet_codec import FernetCodec
from pylon_workflows.ports import Store
from pylon_workflows.store.memory import MemoryStore
from pylon_workflows.store.sqlite import SqliteStore
from tests.contracts.change_log_contract import ChangeLogContract
from tests.contracts.live_rows_contract import LiveRowsContract
from tests.contracts.outbox_store_contract import OutboxStoreContract
from tests.contracts.published_store_contract import PublishedStoreContract
from tests.contracts.run_store_contract import RunStoreContract
from tests.contracts.schedule_store_contract import ScheduleStoreContract
from tests.contracts.secret_store_contract import SecretStoreContract
from tests.contracts.store_contract import StoreContract
from tests.contracts.token_store_contract import TokenStoreContract


class TestSqliteStore(
    StoreContract,
    ScheduleStoreContract,
    PublishedStoreContract,
    TokenStoreContract,
    SecretStoreContract,
    RunStoreContract,
    ChangeLogContract,
    LiveRowsContract,
    OutboxStoreContract,
):
    def new_store(self, folder: Path) -> Store:
        return SqliteStore(folder / "ünïcode ?#%.db")

    def same_store(self, store: Store) -> Store:
        assert isinstance(store, SqliteStore)
        return SqliteStore(store._path)


class TestEncryptedSqliteStore(
    StoreContract,
    ScheduleStoreContract,
    PublishedStoreContract,
    TokenStoreContract,
    SecretStoreContract,
    RunStoreContract,
    ChangeLogContract,
    LiveRowsContract,
    OutboxStoreContract,
):
    codec = FernetCodec([Fernet.generate_key()])

    def new_store(self, folder: Path) -> Store:
        return SqliteStore(folder / "workflows.db", codec=self.codec)

    def same_store(self, store: Store) -> Store:
        assert isinstance(store, SqliteStore)
        return SqliteStore(store._path, codec=self.codec)


class TestMemoryStore(
    StoreContract,
    ScheduleStoreContract,
    PublishedStoreContract,
    TokenStoreContract,
    SecretStoreContract,
    RunStoreContract,
    ChangeLogContract,
    LiveRowsContract,
    OutboxStoreContract,
):
    def new_store(self, folder: Path) -> Store:
        return MemoryStore()

    def same_store(self, store: Store) -> Store:
        return store
