"""PROMISES.md P31 at every door: a value comes back equal, types and key order too, or is refused with the reason.

The doors: bodies of the HTTP API (a start's input, an event's data), arguments in Python, answers of runners, the
request that a runner gets, and what a workflow of the Python kit takes and returns. The TypeScript kit's own door has
its table in `runner_protocol/typescript/test/json.test.ts`.
"""

import asyncio
import json
import struct

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pylon_workflows import LocalRunner, WorkflowDefinition, create_app
from pylon_workflows.errors import InvalidInputError, MalformedAnswerError, RunnerUnavailableError
from pylon_workflows.runner.answers import read_answer
from pylon_workflows.testing import engine_in_memory
from runner_protocol import Runner, workflow
from runner_protocol.messages import Complete, MalformedMessageError, parse_action, parse_request
from runner_protocol.strict_json import encode, parse

INTEGERS = st.integers(-(2**63), 2**64 - 1)
DOUBLES = st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
KEYS = TEXTS | st.sampled_from(["", "__proto__", "constructor", "a.b", "$", "\0", "é", "e\u0301"])
VALUES = st.recursive(
    st.none() | st.booleans() | INTEGERS | DOUBLES | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)

AWKWARD = [
    0, -1, 2**53 + 1, 2**63 - 1, -(2**63), 2**64 - 1, 0.0, -0.0, 1.0, 1e-320, 5e-324, 1.7976931348623157e308,
    1e16, 1e21, 1e22, 123456789012345680.0, 0.1, 1 / 3, 2.0**53,
    "", "\0", "\x1f", "\x7f", "\u2028", "\ufeff", "\ufffe", "𝄞", "e\u0301", '"\\/', "</script>",
    {}, [], {"": 1}, {"__proto__": {"a": 1}}, {"b": 1, "a": 2}, {"é": 1, "e\u0301": 2}, {"1": 1, "0": 2},
    [[], {}, None],
]  # fmt: skip
DEEPEST = json.loads("[" * 64 + "]" * 64)


def exactly(value):
    """A form in which equal means equal: 1 is not 1.0, 0.0 is not -0.0, true is not 1, and keys have an order."""
    if isinstance(value, float):
        return ("double", struct.pack(">d", value))
    if isinstance(value, dict):
        return ("object", [(key, exactly(member)) for key, member in value.items()])
    if isinstance(value, list):
        return ("array", [exactly(member) for member in value])
    return (type(value).__name__, value)


def an_engine(runner):
    engine = engine_in_memory(runner)
    engine.register(WorkflowDefinition("echo", max_retries=0))
    return engine


def client_of(engine):
    return httpx.AsyncClient(transport=httpx.ASGITransport(create_app(engine)), base_url="http://localhost")


@workflow("echo")
async def echo(ctx, value):
    """The input through a step, an event's data through a wait, and both out again."""
    stepped = await ctx.step("keep", lambda: value)
    return [stepped, await ctx.wait_for_event("paid")]


async def through_every_door(value):
    """What the value is at each place where somebody sees it."""
    seen = {}
    kit = Runner([echo])

    async def handle(body):
        request = parse_request(body)
        seen["the request"] = request.input
        seen["the request's text"] = json.loads(body)["input"]
        return await kit.handle(body)

    async with an_engine(LocalRunner(handle)) as engine, client_of(engine) as client:
        body = b'{"name":"echo","id":"http","input":' + json.dumps(value, ensure_ascii=False).encode() + b"}"
        assert (await client.post("/start", content=body)).status_code == 201
        await engine.start("echo", value, id="python")
        for instance_id in ("http", "python"):
            seen[f"the input, {instance_id}"] = (await engine.get(instance_id)).input
        event = b'{"event":"paid","data":' + json.dumps(value, ensure_ascii=False).encode() + b"}"
        assert (await client.post("/http/event", content=event)).status_code == 200
        await engine.send_event("python", "paid", value)
        for instance_id in ("http", "python"):
            stepped, received = await engine.result(instance_id, timeout=10)
            seen[f"the step's output, {instance_id}"] = stepped
            seen[f"the event's data, {instance_id}"] = received
            shown = (await client.get(f"/{instance_id}")).content
            seen[f"what GET shows, {instance_id}"] = json.loads(shown)["input"]
    return seen


def check(value):
    expected = exactly(value)
    seen = asyncio.run(through_every_door(value))
    assert len(seen) == 10
    for place, found in seen.items():
        assert exactly(found) == expected, place


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(VALUES)
def test_a_value_comes_back_equal_from_every_door(value):
    check(value)


@pytest.mark.parametrize("value", AWKWARD, ids=repr)
def test_an_awkward_value_comes_back_equal_from_every_door(value):
    check(value)


async def test_a_tuple_is_an_array_at_every_door_of_python_and_comes_back_as_a_list():
    value = {"pair": (1, ("a", ())), "pairs": [(None,)]}
    as_lists = {"pair": [1, ["a", []]], "pairs": [[None]]}
    async with an_engine(LocalRunner(Runner([echo]))) as engine:
        await engine.start("echo", value, id="there")
        await engine.send_event("there", "paid", value)
        assert await engine.result("there", timeout=10) == [as_lists, as_lists]
        assert exactly((await engine.get("there")).input) == exactly(as_lists)
        assert await engine.start("echo", as_lists, id="there") == "there", "the same input, so the same start"


@given(VALUES)
def test_canonical_bytes_are_a_fixed_point(value):
    canonical = encode(value)
    assert exactly(parse(canonical)) == exactly(value)
    assert encode(parse(canonical)) == canonical


@pytest.mark.parametrize(
    ("text", "same"),
    [
        (b"1E2", b"100.0"),
        (b"1.0", b"1.0"),
        (b"1", b"1"),
        (b"-0.0", b"-0.0"),
        (b"1e22", b"1e+22"),
        (b"0.1000000000000000055511151231257827", b"0.1"),
        (b'"\\u0000\\ud834\\udd1e\\/"', '"\\u0000𝄞/"'.encode()),
        (b' { "b" : 1 , "a" : [ ] } ', b'{"b":1,"a":[]}'),
    ],
)
def test_a_text_is_stored_in_its_shortest_form(text, same):
    assert encode(parse(text)) == same


# What is wrong with a text, the text, and what the refusal says: of what it is, and of where it stands.
BAD = {
    "NaN": (b'{"a":[1,NaN]}', "NaN is not JSON (character "),
    "infinity": (b'{"a":-Infinity}', "-Infinity is not JSON (character "),
    "a double beyond its range": (b'{"a":1e999}', "the number 1e999 is beyond the range of a double (character "),
    "2^64": (b"[18446744073709551616]", "the integer 18446744073709551616 does not fit 64 bits (character "),
    "below -2^63": (b"[-9223372036854775809]", "the integer -9223372036854775809 does not fit 64 bits (character "),
    "a number of a thousand digits": (b"1" * 1000, "does not fit 64 bits (character "),
    "a key that stands twice": (b'{"a":1,"b":2,"a":1}', "the key 'a' stands twice in one object"),
    "a key twice, once as an escape": (b'{"a":1,"\\u0061":2}', "the key 'a' stands twice in one object"),
    "__proto__ twice": (b'{"__proto__":1,"__proto__":2}', "the key '__proto__' stands twice in one object"),
    "a high surrogate alone": (b'"x\\ud800"', "a string holds a lone surrogate, which is no character (character "),
    "a low surrogate alone": (b'{"a":"\\udc00"}', "a string holds a lone surrogate"),
    "surrogates in the wrong order": (b'"\\udd1e\\ud834"', "a string holds a lone surrogate"),
    "a surrogate in a key": (b'{"\\ud800":1}', "a string holds a lone surrogate"),
    "depth 65": (b"[" * 65 + b"]" * 65, "nested deeper than 64"),
    "depth 100,000": (b"[" * 100_000, "nested deeper than 6"),
    "a byte order mark": (b"\xef\xbb\xbf1", "not JSON: "),
    "UTF-16": ('"x"'.encode("utf-16-le"), "not JSON: "),
    "a byte that is no UTF-8": (b'"\xff"', "the text is not UTF-8 (byte "),
    "an overlong slash": (b'"\xc0\xaf"', "the text is not UTF-8 (byte "),
    "a surrogate in UTF-8": (b'"\xed\xa0\x80"', "the text is not UTF-8 (byte "),
    "a bare control character": (b'"a\nb"', "not JSON: Invalid control character at (character "),
    "single quotes": (b"{'a':1}", "not JSON: "),
    "a comma too many": (b"[1,]", "not JSON: "),
    "a comment": (b"1 // one", "not JSON: "),
    "two values": (b"1 2", "not JSON: "),
    "a leading zero": (b"01", "not JSON: "),
    "a word": (b"undefined", "not JSON: "),
    "cut off": (b'{"a":', "not JSON: "),
}


def positions(sentence):
    return [int(word) for word in sentence.replace(")", " ").replace("(", " ").split() if word.isdigit()]


@pytest.mark.parametrize("bad", BAD)
async def test_a_bad_text_is_refused_in_an_input_and_an_event_with_what_and_where(bad):
    text, said = BAD[bad]
    async with an_engine(None) as engine, client_of(engine) as client:
        await engine.start("echo", id="there")
        for path, body, field in (
            ("/start", b'{"name":"echo","input":' + text + b"}", "input"),
            ("/there/event", b'{"event":"e","data":' + text + b"}", "data"),
        ):
            answer = await client.post(path, content=body)
            assert answer.status_code == 400
            detail = answer.json()["detail"]
            if said.startswith("nested deeper"):
                assert (answer.json()["code"], detail) == ("too-deep", f"{field}: nested deeper than 64")
            else:
                assert answer.json()["code"] == "malformed-json"
                assert detail.startswith("the body: ")
                assert said.partition("(")[0] in detail
        assert [found.id for found in await engine.list()] == ["there"]
        assert len(await engine.history("there")) == 1


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_text_is_refused_in_a_runners_answer_and_in_its_request(bad):
    text, said = BAD[bad]
    for action in (
        b'{"action":"complete","output":' + text + b"}",
        b'{"action":"step_complete","output":' + text + b"}",
    ):
        with pytest.raises(MalformedMessageError) as refusal:
            parse_action(action)
        assert said.partition("(")[0] in str(refusal.value)
        assert "; the body begins " in str(refusal.value)
        with pytest.raises((MalformedAnswerError, RunnerUnavailableError)):
            read_answer(200, action)
    with pytest.raises(MalformedMessageError):
        parse_request(b'{"input":' + text + b"}")


@pytest.mark.parametrize("bad", BAD)
async def test_a_bad_text_is_refused_by_the_kit_when_it_is_asked(bad):
    status, body = await Runner([echo]).handle(b'{"workflow_name":"echo","input":' + BAD[bad][0] + b"}")
    assert status == 400
    assert "action" not in json.loads(body)


def test_a_refusal_tells_the_character_itself():
    for text, token in (
        (b'{"a":"NaN","b":[1,NaN]}', "NaN"),
        (b'["1e999", 1e999]', "1e999"),
        (b'"\\\\ud800\\ud800"', "\\u"),
    ):
        with pytest.raises(ValueError, match=r"\(character \d+\)") as refusal:
            parse(text)
        (place,) = positions(str(refusal.value).rpartition("(")[2])
        assert text.decode()[place:].startswith(token)
        assert text.decode()[:place].count('"') % 2 == (token == "\\u")


class Subclass(dict):
    pass


# Values in Python that JSON would change, and where the refusal says that they stand.
LOSSY = {
    "nan": ({"a": [float("nan")]}, "$.a[0]: nan is not JSON"),
    "infinity": (float("inf"), "$: inf is not JSON"),
    "2^64": ({"a": {"b": 2**64}}, "$.a.b: the integer 18446744073709551616 does not fit 64 bits"),
    "a key that is a number": ({"a": {1: 2}}, "$.a: the key 1 is not a string"),
    "a key that is None": ({None: 2}, "$: the key None is not a string"),
    "a set": ([{1}], "$[0]: set is no JSON type"),
    "bytes": ({"a": b"x"}, "$.a: bytes is no JSON type"),
    "an object": (Subclass(a=object()), "$.a: object is no JSON type"),
    "a lone surrogate": ({"a": ["\ud800"]}, "$.a[0]: a string holds a lone surrogate"),
    "a lone surrogate in a key": ({"a": {"\udfff": 1}}, "$.a: a string holds a lone surrogate"),
    "too deep": ([DEEPEST], "nested deeper than 64"),
}


@pytest.mark.parametrize("lossy", LOSSY)
async def test_a_value_that_json_would_change_is_refused_in_python_with_its_path(lossy):
    value, said = LOSSY[lossy]
    async with an_engine(None) as engine:
        await engine.start("echo", id="there")
        for refused, field in (
            (engine.start("echo", value), "input"),
            (engine.send_event("there", "e", value), "data"),
        ):
            with pytest.raises(InvalidInputError) as refusal:
                await refused
            assert str(refusal.value).startswith(f"{field}: ")
            assert said in str(refusal.value)
        with pytest.raises(InvalidInputError, match="action: "):
            await engine.apply("there", Complete(output=value))
        assert len(await engine.history("there")) == 1


@pytest.mark.parametrize("lossy", LOSSY)
async def test_a_step_of_the_kit_that_returns_what_json_would_change_fails_for_good_and_says_where(lossy):
    value, said = LOSSY[lossy]

    @workflow("echo")
    async def returns_it(ctx, _input):
        return await ctx.step("keep", lambda: value)

    async with an_engine(LocalRunner(Runner([returns_it]))) as engine:
        instance = await engine.wait(await engine.start("echo"), timeout=10)
        assert instance.status == "failed"
        assert "the output of step 'keep' is not lossless JSON" in instance.error
        assert said in instance.error


def test_the_deepest_value_is_taken_at_every_door():
    check(DEEPEST[0])
