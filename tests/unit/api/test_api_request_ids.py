import re

import httpx
import pytest

from pylon_workflows.logs import request_id


async def test_the_callers_id_comes_back(client: httpx.AsyncClient) -> None:
    answer = await client.get("/healthz", headers={"X-Request-Id": "order-7.a:b_c"})
    assert answer.headers.get_list("x-request-id") == ["order-7.a:b_c"]
    assert request_id.get() is None


@pytest.mark.parametrize("given", ["", "a b", "a\tb", "x" * 129, "é".encode()])
async def test_an_odd_id_is_not_taken(client: httpx.AsyncClient, given: str | bytes) -> None:
    answer = await client.get(
        "/nothing/here", headers=[(b"x-request-id", given.encode() if isinstance(given, str) else given)]
    )
    assert answer.status_code == 404
    assert re.fullmatch("[0-9a-f]{16}", answer.headers["x-request-id"])


async def test_each_request_has_its_own(client: httpx.AsyncClient) -> None:
    seen = {(await client.get("/healthz")).headers["x-request-id"] for _ in range(3)}
    assert len(seen) == 3
