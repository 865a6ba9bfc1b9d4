import hashlib
import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pylon_workflows.errors import InvalidInputError, TooManyTokensError, UnknownTokenError
from pylon_workflows.known_tokens import KnownTokens
from pylon_workflows.store.memory import MemoryStore
from pylon_workflows.testing import engine_in_memory
from pylon_workflows.tokens import MAX_TOKENS, SCOPES, check_token_id, checked_scopes, new_token, presented

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)


def test_a_token_names_itself_and_only_its_hash_is_kept():
    token, text = new_token({"read", "start"}, now=NOW, expires_in=timedelta(days=90), note="shop")
    assert re.fullmatch(r"pw_[a-z0-9]{12}_[A-Za-z0-9]{43}", text)
    _, token_id, secret = text.split("_")
    assert (token.id, token.hash) == (token_id, hashlib.sha256(secret.encode()).digest())
    assert (token.scopes, token.expires_at, token.note) == ({"read", "start"}, NOW + timedelta(days=90), "shop")
    assert token.hash.hex() not in repr(token)
    assert secret not in repr(token)


def test_no_two_are_alike():
    texts = [new_token(["read"], now=NOW)[1] for _ in range(100)]
    assert len({part for text in texts for part in text.split("_")[1:]}) == 200


def test_what_is_shown_is_right_for_its_own_token_and_no_other():
    (one, text), (other, _) = (new_token(["read"], now=NOW) for _ in range(2))
    shown = presented(text)
    assert shown is not None
    assert shown.id == one.id
    assert [shown.is_right(known) for known in (one, other, None)] == [True, False, False]
    secret = text.rpartition("_")[2]
    for place in range(len(secret)):
        changed = secret[:place] + ("a" if secret[place] != "a" else "b") + secret[place + 1 :]
        assert not presented(f"pw_{one.id}_{changed}").is_right(one)


@given(st.text() | st.from_regex(r"pw_[a-z0-9]{0,14}_[A-Za-z0-9]{0,45}\n?", fullmatch=True))
def test_whatever_is_shown_is_told_or_is_no_token(text):
    shown = presented(text)
    if shown is None:
        assert not re.fullmatch(r"pw_[a-z0-9]{12}_[A-Za-z0-9]{43}", text) or text.endswith("\n")
    else:
        assert not shown.is_right(None)


def test_it_expires_at_its_time_and_not_before():
    token, _ = new_token(["read"], now=NOW, expires_in=timedelta(seconds=10))
    assert [token.has_expired(NOW + timedelta(seconds=s)) for s in (0, 9.999, 10, 11)] == [False, False, True, True]
    assert not new_token(["read"], now=NOW)[0].has_expired(datetime.max.replace(tzinfo=UTC))


@pytest.mark.parametrize("scopes", [[], "read", ["write"], ["read", "READ"], [None], [["read"]]])
def test_scopes_that_are_none_are_refused(scopes):
    with pytest.raises(InvalidInputError, match="scopes: "):
        checked_scopes(scopes)
    assert checked_scopes(iter(()) if False else SCOPES) == set(SCOPES)


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({"expires_in": timedelta(0)}, "expires"),
        ({"expires_in": timedelta(seconds=-1)}, "expires"),
        ({"expires_in": timedelta(days=40000)}, "expires"),
        ({"note": "x" * 201}, "note"),
        ({"note": "two\nlines"}, "note"),
        ({"note": 7}, "note"),
    ],
)
def test_terms_that_make_no_sense_are_refused(terms, field):
    with pytest.raises(InvalidInputError, match=f"{field}: "):
        new_token(["read"], now=NOW, **terms)


def test_a_token_is_named_by_its_id_or_by_itself():
    token, text = new_token(["read"], now=NOW)
    assert check_token_id(token.id) == check_token_id(text) == token.id
    for other in ("", "../x", token.id + "x", text[:-1], f"pw_{token.id}"):
        with pytest.raises(UnknownTokenError, match="no token has that id"):
            check_token_id(other)


async def test_the_engine_knows_its_tokens_after_a_restart_too():
    store = MemoryStore()
    async with engine_in_memory(None, store=store) as engine:
        assert not await engine.has_tokens()
        text = await engine.create_token(["read"], note="shop")
        [token] = await engine.tokens()
        assert (token.note, await engine.has_tokens()) == ("shop", True)
    async with engine_in_memory(None, store=store) as engine:
        assert await engine.tokens() == [token] == [await engine.find_token(token.id)]
        await engine.revoke_token(text)
        assert (await engine.tokens(), await engine.find_token(token.id)) == ([], None)
        assert not await engine.has_tokens()
        with pytest.raises(UnknownTokenError):
            await engine.revoke_token(token.id)


async def test_there_are_not_more_than_there_may_be():
    store = MemoryStore()
    await store.open()
    known = KnownTokens(store.tokens)
    await known.open()
    made = [new_token(["read"], now=NOW)[0] for _ in range(MAX_TOKENS + 1)]
    for token in made[:-1]:
        await store.tokens.save(token)
    await known.open()
    with pytest.raises(TooManyTokensError, match="1,000 tokens"):
        await known.save(made[-1])
    await known.save(made[0])
    await known.revoke(made[0].id)
    await known.save(made[-1])
    assert await store.tokens.count() == MAX_TOKENS


async def test_one_that_was_revoked_is_forgotten_even_when_the_store_cannot_be_read_afterwards():
    store = MemoryStore()
    await store.open()
    known = KnownTokens(store.tokens)
    one, other = (new_token(["read"], now=NOW + timedelta(seconds=n))[0] for n in (1, 0))
    await known.save(one)
    await known.save(other)
    await known.save(one)
    assert known.all() == [other, one]
    delete = store.tokens.delete

    async def delete_and_close(token_id):
        was_there = await delete(token_id)
        await store.close()
        return was_there

    store.tokens.delete = delete_and_close
    await known.revoke(one.id)
    assert (known.find(one.id), known.all(), known.has_any) == (None, [other], True)
