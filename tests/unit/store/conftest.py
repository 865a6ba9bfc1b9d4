import pytest
from words import Words

from pylon_workflows.store import write_connection


@pytest.fixture
async def words(tmp_path, monkeypatch):
    monkeypatch.setattr(write_connection, "IO_PAUSES_S", (0, 0))
    words = Words(tmp_path / "words.db")
    await words.writer.open()
    yield words
    words.gate.set()
    await words.writer.close()
