"""What each scheme accepts and refuses. The vectors are published by the schemes' owners, or by libraries of theirs."""

import pytest
from hook_signing import AT, BODY, OTHER_SECRET, SCHEMES, SECRET, Headers, is_accepted, mac, standard, stripe

from pylon_workflows.api.refusals import BadSignatureError
from pylon_workflows.errors import InvalidInputError
from pylon_workflows.hooks import GitHub, HmacSignature, Slack, StandardWebhooks, Stripe
from runner_protocol.signing import SigningKeys

every_scheme = pytest.mark.parametrize("name", SCHEMES)


class TestPublishedVectors:
    def test_standard_webhooks(self) -> None:
        """The one that the specification's own libraries are tested with."""
        verifier = StandardWebhooks("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
        headers = [
            (b"webhook-id", b"msg_p5jXN8AQM9LWM0D4loKWxJek"),
            (b"webhook-timestamp", b"1614265330"),
            (b"webhook-signature", b"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        ]
        verifier.verify(headers, b'{"test": 2432232314}', 1614265330)
        assert not is_accepted(verifier, headers, b'{"test": 2432232315}', 1614265330)

    def test_github(self) -> None:
        """From "Validating webhook deliveries" in GitHub's documentation."""
        verifier = GitHub("It's a Secret to Everybody")
        digest = b"sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
        verifier.verify([(b"x-hub-signature-256", digest)], b"Hello, World!", AT)
        assert not is_accepted(verifier, [(b"x-hub-signature-256", digest)], b"Hello, World?")

    def test_slack(self) -> None:
        """From "Verifying requests from Slack" in Slack's documentation."""
        verifier = Slack("8f742231b10e8888abcd99yyyzzz85a5")
        body = (
            b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
            b"&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
            b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554"
            b"%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
        )
        digest = b"v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
        headers = [(b"x-slack-request-timestamp", b"1531420618"), (b"x-slack-signature", digest)]
        verifier.verify(headers, body, 1531420618)
        assert not is_accepted(verifier, headers, body + b"&", 1531420618)

    def test_stripe(self) -> None:
        """Stripe publishes none with its body; this is the one of the Rust library async-stripe."""
        body = STRIPE_BODY
        signature = (
            b"t=1533204620,v1=f0bdba6d4eacbd8ad8a3bbadd7248e633ec1477f7899c124c51b39405fa36613,"
            b"v0=63f3a72374a733066c4be69ed7f8e5ac85c22c9f0a6a612ab9a025a9e4ee7eef"
        )
        verifier = Stripe("webhook_secret")
        verifier.verify([(b"stripe-signature", signature)], body, 1533204620)
        assert not is_accepted(verifier, [(b"stripe-signature", signature)], body.rstrip(), 1533204620)

    @pytest.mark.parametrize(
        ("algorithm", "digest"),
        [
            ("sha256", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
            (
                "sha384",
                "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
            ),
            (
                "sha512",
                "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554"
                "9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
            ),
        ],
    )
    def test_plain_hmac(self, algorithm: str, digest: str) -> None:
        """RFC 4231, test case 2."""
        verifier = HmacSignature("Jefe", header="signature", algorithm=algorithm)  # type: ignore[arg-type]
        verifier.verify([(b"signature", digest.encode())], b"what do ya want for nothing?", AT)

    def test_plain_hmac_with_sha1(self) -> None:
        """RFC 2202, test case 2."""
        verifier = HmacSignature(b"Jefe", header="signature", algorithm="sha1")
        digest = b"effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"
        verifier.verify([(b"signature", digest)], b"what do ya want for nothing?", AT)


@every_scheme
def test_what_its_sender_signed_is_accepted_with_any_of_its_secrets(name: str) -> None:
    scheme = SCHEMES[name]
    headers = scheme.sign(SECRET, BODY, AT)
    assert is_accepted(scheme.verifier(SECRET), headers, BODY)
    assert is_accepted(scheme.verifier([OTHER_SECRET, SECRET]), headers, BODY)
    assert is_accepted(scheme.verifier([SECRET, OTHER_SECRET]), headers, BODY)
    assert not is_accepted(scheme.verifier(OTHER_SECRET), headers, BODY)


@every_scheme
def test_every_flip_of_one_bit_of_what_is_signed_is_refused(name: str) -> None:
    scheme = SCHEMES[name]
    verifier = scheme.verifier(SECRET)
    headers = scheme.sign(SECRET, BODY, AT)
    tried = 0
    for bit in range(len(BODY) * 8):
        assert not is_accepted(verifier, headers, flipped(BODY, bit)), f"bit {bit} of the body"
        tried += 1
    for place, (header, value) in enumerate(headers):
        if header in scheme.signed:
            for bit in range(len(value) * 8):
                changed = [*headers[:place], (header, flipped(value, bit)), *headers[place + 1 :]]
                assert not is_accepted(verifier, changed, BODY), f"bit {bit} of {header!r}"
                tried += 1
    assert tried == 8 * (len(BODY) + sum(len(value) for header, value in headers if header in scheme.signed))


@every_scheme
def test_a_part_that_is_missing_doubled_empty_or_longer_is_refused(name: str) -> None:
    scheme = SCHEMES[name]
    verifier = scheme.verifier(SECRET)
    headers = scheme.sign(SECRET, BODY, AT)
    for header in scheme.signed:
        others = [pair for pair in headers if pair[0] != header]
        value = dict(headers)[header]
        for changed in ([], [b""], [value, value], [b"x" + value], [value + b"x"], [b"\xff\x00"], [value[:-1]]):
            assert not is_accepted(verifier, [*others, *((header, each) for each in changed)], BODY), (header, changed)
    for body in (b"", BODY + b"\n", b" " + BODY, BODY[:-1], BODY * 2):
        assert not is_accepted(verifier, headers, body)


@pytest.mark.parametrize("name", [name for name, scheme in SCHEMES.items() if scheme.has_time])
@pytest.mark.parametrize(
    ("away", "is_right"), [(0, True), (299, True), (300, True), (301, False), (-299, True), (-301, False), (1e9, False)]
)
def test_a_signed_time_holds_for_five_minutes_both_ways(name: str, away: float, is_right: bool) -> None:
    scheme = SCHEMES[name]
    headers = scheme.sign(SECRET, BODY, AT)
    assert is_accepted(scheme.verifier(SECRET), headers, BODY, AT + away) is is_right


def test_an_old_delivery_is_told_so_only_when_it_is_genuine() -> None:
    genuine, forged = stripe(SECRET, BODY, AT), stripe(OTHER_SECRET, BODY, AT)
    with pytest.raises(BadSignatureError, match=r"301 s away from this machine's time, which is too old"):
        Stripe(SECRET).verify(genuine, BODY, AT + 301)
    with pytest.raises(BadSignatureError, match="too far in the future"):
        Stripe(SECRET).verify(genuine, BODY, AT - 301)
    with pytest.raises(BadSignatureError, match="is not that of this body"):
        Stripe(SECRET).verify(forged, BODY, AT + 301)


def test_the_window_is_as_long_as_one_says() -> None:
    verifier = Stripe(SECRET, tolerance_s=10)
    assert is_accepted(verifier, stripe(SECRET, BODY, AT), BODY, AT + 9)
    assert not is_accepted(verifier, stripe(SECRET, BODY, AT), BODY, AT + 11)


@pytest.mark.parametrize("time", [b"-1", b"+5", b"1e9", b" 1700000000", b"1_7", b"", b"nan", b"\xb2", b"9" * 400])
def test_a_time_that_is_no_number_is_refused_even_when_it_is_signed(time: bytes) -> None:
    digest = mac(SECRET, time, b".", BODY).hex().encode()
    assert not is_accepted(Stripe(SECRET), [(b"stripe-signature", b"t=%b,v1=%b" % (time, digest))], BODY)


class TestSeveralSignatures:
    def test_one_of_several_that_is_right_is_enough(self) -> None:
        headers = standard(SECRET, BODY, AT)
        right = headers[2][1]
        for value in (b"v1,bm9wZQ== " + right, right + b" v1,bm9wZQ==", b"v1a,abc " + right, b"  " + right):
            assert is_accepted(StandardWebhooks(SECRET), [*headers[:2], (headers[2][0], value)], BODY)
        digest = stripe(SECRET, BODY, AT)[0][1].removeprefix(b"t=%d," % AT)
        value = b"t=%d,v1=00,%b,v0=11" % (AT, digest)
        assert is_accepted(Stripe(SECRET), [(b"stripe-signature", value)], BODY)

    @pytest.mark.parametrize("kind", [b"v0", b"v2", b"V1", b"v1a", b""])
    def test_another_kind_of_signature_counts_for_nothing(self, kind: bytes) -> None:
        headers = standard(SECRET, BODY, AT)
        value = kind + b"," + headers[2][1].removeprefix(b"v1,")
        assert not is_accepted(StandardWebhooks(SECRET), [*headers[:2], (headers[2][0], value)], BODY)
        digest = stripe(SECRET, BODY, AT)[0][1].partition(b"v1=")[2]
        assert not is_accepted(Stripe(SECRET), [(b"stripe-signature", b"t=%d,%b=%b" % (AT, kind, digest))], BODY)

    def test_two_times_are_refused(self) -> None:
        value = stripe(SECRET, BODY, AT)[0][1]
        for changed in (b"t=%d,%b" % (AT, value), value.partition(b",")[2]):
            assert not is_accepted(Stripe(SECRET), [(b"stripe-signature", changed)], BODY)


def test_what_our_own_calls_are_signed_with_is_the_same_scheme() -> None:
    """The kits verify with code of their own, for they stand alone; either takes what the other has signed."""
    keys = SigningKeys([f"whsec_{SECRET}"])
    ours = standard(SECRET, BODY, AT)
    keys.check(ours, BODY, now_s=AT)
    signed = [*ours[:2], (b"webhook-signature", keys.sign("msg_1", AT, BODY).encode())]
    assert is_accepted(StandardWebhooks(SECRET), signed, BODY)


def test_svix_headers_are_the_same_scheme_under_other_names() -> None:
    verifier = StandardWebhooks(f"whsec_{SECRET}", headers="svix")
    assert is_accepted(verifier, standard(SECRET, BODY, AT, names=b"svix"), BODY)
    assert not is_accepted(verifier, standard(SECRET, BODY, AT), BODY)
    assert verifier.habits.delivery == "{header:svix-id}"


def test_hex_of_mixed_case_is_refused() -> None:
    digest = mac(SECRET, BODY).hex()
    verifier = HmacSignature(SECRET, header="s")
    letter = next(place for place, character in enumerate(digest) if character.isalpha())
    mixed = digest[:letter] + digest[letter].upper() + digest[letter + 1 :]
    assert is_accepted(verifier, [(b"s", digest.encode())], BODY)
    assert is_accepted(verifier, [(b"s", digest.upper().encode())], BODY)
    assert not is_accepted(verifier, [(b"s", mixed.encode())], BODY)


def test_headers_are_found_in_any_case() -> None:
    headers: Headers = [(name.title(), value) for name, value in stripe(SECRET, BODY, AT)]
    assert is_accepted(Stripe(SECRET), headers, BODY)


class TestSecrets:
    @pytest.mark.parametrize("scheme", [StandardWebhooks, Stripe, GitHub, Slack])
    @pytest.mark.parametrize("secrets", ["", b"", [], [SECRET, ""], [None], f"{SECRET}\n", [f" {SECRET}"]])
    def test_one_that_makes_no_sense_is_refused_and_never_shown(self, scheme: type, secrets: object) -> None:
        with pytest.raises(InvalidInputError, match=r"^secrets: ") as caught:
            scheme(secrets)
        assert SECRET not in str(caught.value)

    @pytest.mark.parametrize("secret", ["whsec_", "whsec_!", "not base64", "é", "abc"])
    def test_standard_webhooks_wants_base64(self, secret: str) -> None:
        with pytest.raises(InvalidInputError, match=r"^secrets: number 1 "):
            StandardWebhooks(secret)

    def test_bytes_are_the_key_itself(self) -> None:
        verifier = StandardWebhooks(b" any bytes ")
        assert verifier.keys == (b" any bytes ",)

    def test_nothing_that_people_print_shows_one(self) -> None:
        for verifier in (StandardWebhooks(SECRET), Stripe(SECRET), GitHub(SECRET), Slack(SECRET)):
            assert SECRET not in repr(verifier)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"header": ""}, "header"),
        ({"header": "a b"}, "header"),
        ({"header": "s", "algorithm": "md5"}, "algorithm"),
        ({"header": "s", "encoding": "base32"}, "encoding"),
        ({"header": "s", "signed": "{timestamp}"}, "signed"),
        ({"header": "s", "signed": "{timestamp}.{body}"}, "signed"),
        ({"header": "s", "timestamp_header": "t", "signed": "{body}"}, "signed"),
        ({"header": "s", "signed": "{body"}, "signed"),
        ({"header": "s", "signed": "{body}{other}"}, "signed"),
        ({"header": "s", "signed": "{body}{header:}"}, "signed"),
        ({"header": "s", "signed": 5}, "signed"),
        ({"header": "s", "prefix": 5}, "prefix"),
        ({"header": "s", "tolerance_s": 0}, "tolerance_s"),
        ({"header": "s", "tolerance_s": float("nan")}, "tolerance_s"),
        ({"header": "s", "tolerance_s": "300"}, "tolerance_s"),
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(options: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^{field}: "):
        HmacSignature(SECRET, **options)  # type: ignore[arg-type]


def test_a_header_may_be_called_as_a_gap() -> None:
    verifier = HmacSignature(SECRET, header="s", signed="{header:body}{body}")
    headers = [(b"s", mac(SECRET, b"one", b"two").hex().encode()), (b"body", b"one")]
    assert is_accepted(verifier, headers, b"two")
    assert not is_accepted(verifier, headers, b"one")


def flipped(value: bytes, bit: int) -> bytes:
    changed = bytearray(value)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


STRIPE_BODY = b"""{
  "id": "evt_123",
  "object": "event",
  "account": "acct_123",
  "api_version": "2017-05-25",
  "created": 1533204620,
  "data": {
    "object": {
      "id": "ii_123",
      "object": "invoiceitem",
      "amount": 1000,
      "currency": "usd",
      "customer": "cus_123",
      "date": 1533204620,
      "description": "Test Invoice Item",
      "discountable": false,
      "invoice": "in_123",
      "livemode": false,
      "metadata": {},
      "period": {
        "start": 1533204620,
        "end": 1533204620
      },
      "plan": null,
      "proration": false,
      "quantity": null,
      "subscription": null
    }
  },
  "livemode": false,
  "pending_webhooks": 1,
  "request": {
    "id": "req_123",
    "idempotency_key": "idempotency-key-123"
  },
  "type": "invoiceitem.created"
}
"""
