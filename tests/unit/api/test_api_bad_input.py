"""Whatever a caller sends, the answer is a 4xx that names what is wrong; never a 500."""

import json

import httpx
import pytest

DEEP = "[" * 65 + "]" * 65


@pytest.mark.parametrize(
    ("body", "code", "detail"),
    [
        (b"", "malformed-json", "the body: is empty"),
        (b" \n", "malformed-json", "the body: is empty"),
        (b"{", "malformed-json", "the body: not JSON"),
        (b"name=onboarding", "malformed-json", "the body: not JSON"),
        (b'{"name":"onboarding"} x', "malformed-json", "the body: not JSON"),
        (b'{"name":"\xff"}', "malformed-json", "the body: the text is not UTF-8"),
        (b'\xef\xbb\xbf{"name":"onboarding"}', "malformed-json", "the body: not JSON"),
        ('{"name":"onboarding"}'.encode("utf-16"), "malformed-json", "the body: "),
        (b'{"name":"onboarding","input":NaN}', "malformed-json", "the body: NaN"),
        (b'{"name":"onboarding","input":[-Infinity]}', "malformed-json", "the body: -Infinity"),
        (b'{"name":"onboarding","input":1e999}', "malformed-json", "the body: the number 1e999"),
        (b'{"name":"onboarding","input":18446744073709551616}', "malformed-json", "the body: the integer 1844674"),
        (b'{"name":"onboarding","input":"\\ud800"}', "malformed-json", "the body: a string holds a lone surrogate"),
        (b'{"name":"onboarding","name":"billing"}', "malformed-json", "the body: the key 'name' stands twice"),
        (b'{"name":"onboarding","input":{"a":1,"a":1}}', "malformed-json", "the body: the key 'a' stands twice"),
        (f'{{"name":"onboarding","input":{DEEP}}}'.encode(), "too-deep", "input: nested deeper than 64"),
        (f'{{"input":[{{}}],"id":{DEEP},"name":"x"}}'.encode(), "too-deep", "id: nested deeper than 64"),
        (b"[]" * 1000, "malformed-json", "the body: not JSON"),
        (b'\\"' * 300_000 + b"[" * 70, "too-deep", "the body: nested deeper than 64"),
        (b"[" * 100_000, "too-deep", "the body: nested deeper than 64"),
        (b"null", "invalid-input", "the body: should be a JSON object"),
        (b'["onboarding"]', "invalid-input", "the body: should be a JSON object"),
        (b'"onboarding"', "invalid-input", "the body: should be a JSON object"),
        (b"{}", "invalid-input", "name: Field required"),
    ],
)
async def test_a_body_that_is_no_json_object_is_400(
    client: httpx.AsyncClient, body: bytes, code: str, detail: str
) -> None:
    for path in ("/start", "/definitions"):
        answer = await client.post(path, content=body)
        assert (answer.status_code, answer.json()["code"]) == (400, code)
        assert answer.json()["detail"].startswith(detail)


@pytest.mark.parametrize("value", [3, 1.5, True, ["x"], {"x": 1}, ""])
@pytest.mark.parametrize(
    ("path", "field", "others"),
    [
        ("/start", "name", {}),
        ("/start", "id", {"name": "onboarding"}),
        ("/start", "idempotency_key", {"name": "onboarding"}),
        ("/wf_alice/event", "event", {}),
        ("/wf_alice/event", "event_id", {"event": "paid"}),
        ("/definitions", "name", {}),
        ("/definitions", "version", {"name": "billing"}),
    ],
)
async def test_a_field_of_the_wrong_type_is_400_and_named(
    client: httpx.AsyncClient, path: str, field: str, others: dict[str, str], value: object
) -> None:
    answer = await client.post(path, json={**others, field: value})
    code = "invalid-id" if (field, value) == ("id", "") else "invalid-input"
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert answer.json()["detail"].startswith(f"{field}:")


@pytest.mark.parametrize("id", ["a b", "é", "x" * 129, "a/b", "start", "Definitions", "..", "a\n", "healthz"])
async def test_an_id_that_no_route_could_name_is_400(client: httpx.AsyncClient, id: str) -> None:
    answer = await client.post("/start", json={"name": "onboarding", "id": id})
    is_word = id in ("start", "Definitions", "..", "healthz")
    assert (answer.status_code, answer.json()["code"]) == (400, "reserved-id" if is_word else "invalid-id")
    assert answer.json()["detail"].startswith("id:")


@pytest.mark.parametrize("field", ["name", "idempotency_key"])
async def test_a_text_that_is_too_long_is_400_and_named(client: httpx.AsyncClient, field: str) -> None:
    answer = await client.post("/start", json={"name": "onboarding", field: "x" * 129})
    assert (answer.status_code, answer.json()["detail"].split(":")[0]) == (400, field)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([b"a", b"b"], "stands there 2 times"),
        ([b""], "must have 1 to 128 characters, not 0"),
        ([b"x" * 129], "must have 1 to 128 characters, not 129"),
        ([b"\xff"], "is not UTF-8"),
    ],
)
@pytest.mark.parametrize(("path", "header"), [("/start", "Idempotency-Key"), ("/wf_alice/event", "webhook-id")])
async def test_a_header_that_cannot_be_a_key_is_400_and_named(
    client: httpx.AsyncClient, path: str, header: str, values: list[bytes], said: str
) -> None:
    headers = [(header.lower().encode(), value) for value in values]
    answer = await client.post(path, json={"name": "onboarding", "event": "paid"}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "name-too-long" if "129" in said else "invalid-input")
    assert answer.json()["detail"].startswith(f"{header}:")
    assert said in answer.json()["detail"]


async def test_a_compressed_body_is_415(client: httpx.AsyncClient) -> None:
    answer = await client.post("/start", content=b"\x1f\x8b", headers={"content-encoding": "gzip"})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported-encoding")
    body = json.dumps({"name": "onboarding"})
    plain = await client.post("/start", content=body, headers={"content-encoding": "identity"})
    assert plain.status_code == 201


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/", "GET, HEAD"),
        ("GET", "/start", "POST"),
        ("DELETE", "/definitions", "GET, HEAD, POST"),
        ("POST", "/wf_alice", "DELETE, GET, HEAD"),
        ("GET", "/wf_alice/event", "POST"),
        ("OPTIONS", "/wf_alice/cancel", "POST"),
        ("BREW", "/healthz", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_is_405_with_the_right_ones(
    client: httpx.AsyncClient, method: str, path: str, allow: str
) -> None:
    answer = await client.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (405, "method-not-allowed")
    assert answer.headers["allow"] == allow


@pytest.mark.parametrize(
    "path", ["/wf_alice/nothing", "/a/b/c", "/wf_alice//", "/start/", "/wf%2Falice", "/wf_alice/history/1"]
)
async def test_an_unknown_path_is_404_and_never_a_redirect(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown-route")
    assert answer.headers["content-type"] == "application/problem+json"
