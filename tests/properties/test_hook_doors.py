"""Whatever comes to the doors of webhooks: a known error or a value, nothing else."""

import asyncio
import json
import re
from datetime import UTC, datetime

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pylon_workflows import WorkflowDefinition
from pylon_workflows.api.refusals import BadSignatureError
from pylon_workflows.errors import InvalidInputError
from pylon_workflows.hooks import HookSource, create_hooks_app
from pylon_workflows.hooks.bodies import UnreadableBodyError, read_body
from pylon_workflows.hooks.sent_headers import AmbiguousHeaderError
from pylon_workflows.hooks.sources_file import load_sources
from pylon_workflows.hooks.templates import Arrived, MissingError, Template
from pylon_workflows.testing import FakeClock, engine_in_memory
from runner_protocol.strict_json import encode
from tests.unit.hooks.hook_signing import AT, SCHEMES, SECRET

pytestmark = pytest.mark.slow

NAMES = sorted({name for scheme in SCHEMES.values() for name in scheme.signed})
PIECES = st.sampled_from([b"v1", b"v1,", b"v0=", b"sha256=", b"t=", b"=", b",", b" ", b".", b"-", b"1700000000", b"\0"])
VALUES = st.binary(max_size=40) | st.lists(PIECES | st.binary(max_size=4), max_size=8).map(b"".join)
HEADERS = st.lists(st.tuples(st.sampled_from(NAMES) | st.binary(max_size=10), VALUES), max_size=6)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["id", "type", "data", "event", "challenge", "0"]) | st.text(max_size=5), inner),
    max_leaves=10,
)  # fmt: skip


@pytest.mark.parametrize("scheme", SCHEMES)
@given(headers=HEADERS, body=st.binary(max_size=60), now=st.floats())
def test_a_verifier_refuses_or_returns(scheme: str, headers: list, body: bytes, now: float) -> None:
    try:
        SCHEMES[scheme].verifier(SECRET).verify(headers, body, now)
    except BadSignatureError:
        return
    pytest.fail("nobody has signed this")


@pytest.mark.parametrize("scheme", SCHEMES)
@given(body=st.binary(max_size=60), place=st.integers(0, 5), cut=st.integers(0, 200), more=st.binary(max_size=3))
def test_a_signed_header_that_was_cut_and_mended_anywhere_is_refused(
    scheme: str, body: bytes, place: int, cut: int, more: bytes
) -> None:
    headers = SCHEMES[scheme].sign(SECRET, body, AT)
    place %= len(SCHEMES[scheme].signed)
    at = next(number for number, (name, _) in enumerate(headers) if name == SCHEMES[scheme].signed[place])
    name, value = headers[at]
    cut %= len(value)
    changed = value[:cut] + more + value[cut + 1 :]
    verifier = SCHEMES[scheme].verifier(SECRET)
    if changed == value:
        verifier.verify(headers, body, AT)
        return
    try:
        verifier.verify([*headers[:at], (name, changed), *headers[at + 1 :]], body, AT)
    except BadSignatureError:
        return
    # Words beside the right ones may come: another signature, or one of another kind.
    assert set(re.split(rb"[ ,]", value)) <= set(re.split(rb"[ ,]", changed))


@given(
    text=st.lists(st.sampled_from(["{", "}", "{{", "}}", "|", ".", ":", "header:", "url:id", "a", "0", " "])).map(
        "".join
    )
    | st.text(max_size=20),
    body=JSON,
    headers=st.lists(st.tuples(st.sampled_from([b"a", b"0"]), st.binary(max_size=3))),
    url_id=st.none() | st.text(max_size=3),
)
def test_a_template_is_refused_or_fills_or_misses(text: str, body: object, headers: list, url_id: str | None) -> None:
    try:
        template = Template(text, "event")
        assert isinstance(template.fill(Arrived(body, headers, url_id)), str)
    except (InvalidInputError, MissingError, AmbiguousHeaderError):
        pass


FORMS = st.lists(st.sampled_from([b"payload", b"=", b"&", b"%", b"%7B", b"a", b"{", b'"', b"}", b"+", b"\xff", b";"]))


@given(
    body=st.binary(max_size=80) | FORMS.map(b"".join) | JSON.map(lambda value: json.dumps(value).encode()),
    expected=st.sampled_from(["json", "form", "json or form"]),
)
@example(b"&".join(b"a%d" % number for number in range(1001)), "form")
@example(b"payload=" + b"[" * 9000, "form")
def test_a_body_is_read_or_unreadable(body: bytes, expected: str) -> None:
    try:
        value = read_body(body, expected)  # type: ignore[arg-type]
    except UnreadableBodyError:
        return
    encode(value)  # what was read can be stored


WORDS = st.sampled_from(
    ["[sources.a]", "[sources]", 'scheme = "stripe"', 'scheme = "hmac"', 'secret_env = "S"', "secret_env = []", "a",
     'instance = "{id}"', 'correlation = "{', 'header = "x"', "events = ", "{ }", "[", "]", '"', "=", "\n", "1",
     'signed = "{body}"', 'delivery = "{id}"', 'event = "x"', "start = { workflow = 'w' }", "tolerance_s = nan"]
)  # fmt: skip


@given(text=st.lists(WORDS, max_size=14).map("\n".join) | st.text(max_size=40))
@example(text='[sources.a]\nscheme = "stripe"\nsecret_env = "S"\ninstance = "{id}"')
@settings(max_examples=300)
def test_a_file_of_sources_is_read_or_refused(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "hooks.toml"
    path.write_text(text)
    try:
        sources = load_sources(path, {"S": SECRET})
    except InvalidInputError as error:
        assert SECRET not in str(error)
        return
    assert all(isinstance(source, HookSource) for source in sources)


async def answers_to(scheme: str, bodies: list[bytes]) -> list[httpx.Response]:
    """What senders of a scheme are answered who sign whatever they send."""
    engine = engine_in_memory(None, clock=FakeClock(datetime.fromtimestamp(AT, UTC)))
    engine.register(WorkflowDefinition("order"))
    source = HookSource(
        "sender",
        SCHEMES[scheme].verifier(SECRET),
        instance="{id|type|data}",
        delivery="{id|event|type}",
        event="{type|id}",
    )
    app = create_hooks_app(engine, [source], clock=FakeClock(datetime.fromtimestamp(AT, UTC)))
    transport = httpx.ASGITransport(app)
    async with engine, httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        await engine.start("order", id="a")
        return [
            await client.post("/sender", content=body, headers=dict(SCHEMES[scheme].sign(SECRET, body, AT)))
            for body in bodies
        ]


@pytest.mark.parametrize("scheme", SCHEMES)
@given(bodies=st.lists(st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode()), max_size=8))
@settings(max_examples=25, deadline=None)
def test_whatever_is_signed_is_acknowledged(scheme: str, bodies: list[bytes]) -> None:
    for answer in asyncio.run(answers_to(scheme, bodies)):
        assert answer.status_code == 200
        value = answer.json()
        assert value.keys() in ({"applied", "duplicate"}, {"applied", "duplicate", "reason", "detail"}, {"challenge"})
        assert value.get("applied") is not False or value["reason"]
