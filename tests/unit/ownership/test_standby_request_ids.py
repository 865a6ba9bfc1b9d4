"""What a standby has the owner do for a request stands in the owner's log under the same id."""

import asyncio
import re

import httpx
import pytest
from owner import Owner, worker

from pylon_workflows import create_app
from pylon_workflows.logs import request_id
from pylon_workflows.store.file_reads import SqliteFileReads
from pylon_workflows.testing import wait_until
from runner_protocol.messages import Complete


@pytest.fixture
def path(tmp_path):
    return tmp_path / "orders.db"


class Answered:
    """Around the owner's application: the ids that its answers carry."""

    def __init__(self):
        self.ids = []

    def __call__(self, app):
        async def noted(scope, receive, send):
            async def note(message):
                if message["type"] == "http.response.start":
                    self.ids += [value.decode() for name, value in message["headers"] if name == b"x-request-id"]
                await send(message)

            await app(scope, receive, note)

        return noted


async def test_the_id_of_a_standbys_request_goes_on_to_the_owner(path):
    answered = Answered()
    async with Owner(path, answered), worker(path) as standby:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(create_app(standby)), base_url="http://localhost"
        ) as client:
            started = await client.post("/start", json={"name": "order"}, headers={"X-Request-Id": "req-7"})
            assert started.status_code == 201
        assert set(answered.ids) == {"req-7"}


async def test_what_a_program_asks_for_itself_has_an_id_of_the_owners(path):
    answered = Answered()
    async with Owner(path, answered), worker(path) as standby:
        await standby.start("order")
    assert answered.ids
    assert all(re.fullmatch("[0-9a-f]{16}", each) for each in answered.ids)


async def test_the_file_is_watched_for_all_and_as_nobodys_request(path, monkeypatch):
    seen, look = [], SqliteFileReads.data_version

    async def noted(self):
        seen.append(request_id.get())
        return await look(self)

    monkeypatch.setattr(SqliteFileReads, "data_version", noted)
    async with Owner(path) as owner, worker(path) as standby:
        await standby.start("order", id="a")
        before = request_id.set("req-7")
        try:
            waiting = asyncio.create_task(standby.wait("a", 10))
            await wait_until(lambda: len(seen) > 2)
        finally:
            request_id.reset(before)
        await owner.engine.apply("a", Complete())
        await waiting
    assert set(seen) == {None}
