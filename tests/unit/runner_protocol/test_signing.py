"""Signed requests: what Standard Webhooks says, and that nothing else passes."""

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner_protocol.signing import SECRETS_VARIABLE, SignatureError, SigningKeys, keys_from_environment

# Published with the reference implementations of Standard Webhooks.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID, SIGNED_AT, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

ANOTHER = "whsec_" + base64.b64encode(bytes(range(32))).decode()
KEYS = SigningKeys([SECRET])
VALUES = {"webhook-id": ID, "webhook-timestamp": str(SIGNED_AT), "webhook-signature": SIGNATURE}


def headers(**changed: str) -> list[tuple[bytes, bytes]]:
    values = VALUES | {name.replace("_", "-"): value for name, value in changed.items()}
    return [(name.encode(), value.encode()) for name, value in values.items()]


def test_the_published_vector_is_made_and_accepted() -> None:
    assert KEYS.sign(ID, SIGNED_AT, BODY) == SIGNATURE
    KEYS.check(headers(), BODY, now_s=SIGNED_AT)


def test_a_secret_may_come_without_its_prefix() -> None:
    assert SigningKeys([SECRET.removeprefix("whsec_")]).sign(ID, SIGNED_AT, BODY) == SIGNATURE


@pytest.mark.parametrize(("late_s", "passes"), [(0, True), (299, True), (301, False), (-299, True), (-301, False)])
def test_a_signature_is_good_for_five_minutes_either_way(late_s: int, *, passes: bool) -> None:
    if passes:
        KEYS.check(headers(), BODY, now_s=SIGNED_AT + late_s)
        return
    with pytest.raises(SignatureError, match=r"300 s before or after .* clocks"):
        KEYS.check(headers(), BODY, now_s=SIGNED_AT + late_s)


def flips(value: bytes) -> list[bytes]:
    return [
        value[:index] + bytes([value[index] ^ 1 << bit]) + value[index + 1 :]
        for index in range(len(value))
        for bit in range(8)
    ]


def test_each_bit_of_all_that_is_signed_counts() -> None:
    for body in flips(BODY):
        with pytest.raises(SignatureError):
            KEYS.check(headers(), body, now_s=SIGNED_AT)
    for index, (name, value) in enumerate(headers()):
        for flipped in flips(value):
            changed = headers()
            changed[index] = (name, flipped)
            with pytest.raises(SignatureError):
                KEYS.check(changed, BODY, now_s=SIGNED_AT)


def test_either_side_may_change_its_secret_first() -> None:
    both = SigningKeys([ANOTHER, SECRET])
    both.check(headers(), BODY, now_s=SIGNED_AT)
    signed = headers(webhook_signature=both.sign(ID, SIGNED_AT, BODY))
    for secret in (SECRET, ANOTHER):
        SigningKeys([secret]).check(signed, BODY, now_s=SIGNED_AT)
    with pytest.raises(SignatureError, match="no signature of it was made with a secret that is known"):
        SigningKeys([ANOTHER]).check(headers(), BODY, now_s=SIGNED_AT)


def test_signatures_of_other_kinds_are_passed_over() -> None:
    KEYS.check(headers(webhook_signature=f"v1a,c2lnbmVk v1,bm8= {SIGNATURE}"), BODY, now_s=SIGNED_AT)


@pytest.mark.parametrize("name", list(VALUES))
def test_each_header_is_there_once(name: str) -> None:
    without = [header for header in headers() if header[0] != name.encode()]
    twice = [*headers(), (name.encode(), VALUES[name].encode())]
    for given_headers, complaint in ((without, f"{name} is missing"), (twice, f"{name} stands there 2 times")):
        with pytest.raises(SignatureError, match=complaint):
            KEYS.check(given_headers, BODY, now_s=SIGNED_AT)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([b"webhook-id", b"webhook-timestamp", b"webhook-signature"]), st.binary())),
    st.binary(max_size=50),
    st.floats(0, 1e11),
)
def test_whatever_comes_is_refused_with_the_one_error(
    found: list[tuple[bytes, bytes]], body: bytes, now_s: float
) -> None:
    with pytest.raises(SignatureError):
        KEYS.check(found, body, now_s=now_s)


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=1), st.sampled_from(list(VALUES)))
def test_whatever_stands_in_one_header_is_refused_with_the_one_error(value: bytes, name: str) -> None:
    if value != VALUES[name].encode():
        changed = [(each, value if each == name.encode() else was) for each, was in headers()]
        with pytest.raises(SignatureError):
            KEYS.check(changed, BODY, now_s=SIGNED_AT)


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "password", "whsec_c2hvcnQ=", "wh" * 60, "whsec_" + "A" * 200, "ä", 7]
)
def test_a_secret_that_is_none_is_refused_and_not_shown(secret: str) -> None:
    with pytest.raises(ValueError, match="number 2 is no secret") as caught:
        SigningKeys([SECRET, secret])
    assert "password" not in str(caught.value)
    assert "c2hvcnQ=" not in str(caught.value)


def test_a_list_without_secrets_is_no_list() -> None:
    for secrets in ([], SECRET):
        with pytest.raises(ValueError, match="secrets: "):
            SigningKeys(secrets)


def test_keys_do_not_show_themselves() -> None:
    assert repr(SigningKeys([SECRET, ANOTHER])) == "SigningKeys(2)"


def test_the_environments_secrets_have_commas_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SECRETS_VARIABLE, raising=False)
    assert keys_from_environment() is None
    monkeypatch.setenv(SECRETS_VARIABLE, " , ")
    assert keys_from_environment() is None
    monkeypatch.setenv(SECRETS_VARIABLE, f"{ANOTHER}, {SECRET}")
    keys = keys_from_environment()
    assert keys is not None
    keys.check(headers(), BODY, now_s=SIGNED_AT)
    monkeypatch.setenv(SECRETS_VARIABLE, "changeme")
    with pytest.raises(ValueError, match=f"{SECRETS_VARIABLE}: secrets: number 1"):
        keys_from_environment()
