"""A worker that does not own the file makes and revokes tokens through the owner, and knows them from the file."""

import asyncio
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from owner import Mute, Owner, worker

from pylon_workflows import create_app
from pylon_workflows.errors import UnknownTokenError
from pylon_workflows.testing import FakeClock, wait_until
from pylon_workflows.tokens import new_token


@pytest.fixture
def path(tmp_path):
    return tmp_path / "orders.db"


async def test_a_standby_does_all_that_an_owner_does(path):
    async with Owner(path) as owner, worker(path) as standby:
        assert not await standby.has_tokens()
        text = await standby.create_token({"read", "event"}, note="sh\u00f6p")
        [token] = await standby.tokens()
        assert await owner.engine.tokens() == [token] == [await standby.find_token(token.id)]
        assert (token.scopes, token.note) == ({"read", "event"}, "sh\u00f6p")
        assert await standby.has_tokens()
        await standby.revoke_token(text)
        assert not await owner.engine.has_tokens()
        assert not await standby.has_tokens()
        with pytest.raises(UnknownTokenError):
            await standby.revoke_token(token.id)


async def test_a_standbys_api_lets_in_who_has_a_token_and_at_once_nobody_whose_was_revoked(path):
    async with Owner(path) as owner, worker(path) as standby:
        transport = httpx.ASGITransport(create_app(standby), client=("203.0.113.9", 5))
        async with httpx.AsyncClient(transport=transport, base_url="http://api.example") as client:
            text, _ = [await standby.create_token(["read"]) for _ in range(2)]
            headers = {"authorization": f"Bearer {text}"}
            assert (await client.get("/", headers=headers)).status_code == 200
            assert (await client.post("/start", json={"name": "order"}, headers=headers)).status_code == 403
            await owner.engine.revoke_token(text.split("_")[1])
            assert (await client.get("/", headers=headers)).status_code == 401


async def test_a_standby_and_its_api_go_by_the_clock_that_it_was_given(path):
    clock = FakeClock(datetime(2040, 1, 1, tzinfo=UTC))
    async with Owner(path), worker(path, clock=clock) as standby:
        text = await standby.create_token(["read"], expires_in=timedelta(days=90))
        [token] = await standby.tokens()
        assert token.created_at == clock.now()
        assert (await standby.get(await standby.start("order", delay="1h"))).due_at == clock.now() + timedelta(hours=1)
        transport = httpx.ASGITransport(create_app(standby), client=("203.0.113.9", 5))
        async with httpx.AsyncClient(transport=transport, base_url="http://api.example") as client:
            headers = {"authorization": f"Bearer {text}"}
            assert (await client.get("/definitions", headers=headers)).status_code == 200
            clock.advance(timedelta(days=90))
            assert (await client.get("/definitions", headers=headers)).status_code == 401


@pytest.mark.parametrize("verb", ["create", "revoke"])
async def test_what_an_owner_did_that_died_before_its_answer_is_found_done(path, verb):
    mute = Mute("")
    owner = Owner(path, mute)
    async with owner, worker(path) as standby:
        if verb == "create":
            calling = asyncio.create_task(standby.create_token(["read"]))
        else:
            token, _ = new_token(["read"], now=datetime.now(UTC))
            await owner.engine.save_token(token)
            calling = asyncio.create_task(standby.revoke_token(token.id))
        await asyncio.wait_for(mute.has_done.wait(), 10)
        await owner.die()
        await asyncio.wait_for(calling, 10)
        await wait_until(lambda: standby.role == "owner")
        assert len(await standby.tokens()) == (1 if verb == "create" else 0)
