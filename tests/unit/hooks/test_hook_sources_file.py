from pathlib import Path
from typing import Any

import pytest
from hook_signing import AT, BODY, OTHER_SECRET, SCHEMES, SECRET, is_accepted

from pylon_workflows.errors import InvalidInputError
from pylon_workflows.hooks import load_sources

ENVIRONMENT = {"ONE": SECRET, "TWO": OTHER_SECRET, "THREE": "c2Vj", "FOUR": "Zm91cg==", "FIVE": "Zml2ZQ==", "EMPTY": ""}

EVERYTHING = """
[sources.standard]
scheme = "standard-webhooks"
secret_env = "ONE"
tolerance_s = 600
correlation = "order:{data.order_id}"
data = "data"
start = { workflow = "order", id = "order-{data.order_id}", events = ["created"], tags = { order = "{data.order_id}" } }

[sources.stripe]
scheme = "stripe"
secret_env = ["TWO"]
instance = "{data.object.metadata.workflow_id}"
[sources.stripe.events]
"payment_intent.succeeded" = "paid"
"charge.refunded" = "refunded"

[sources.github]
scheme = "github"
secret_env = "THREE"
event = "github.{header:x-github-event}"
correlation = "pull:{pull_request.number}"
events = ["github.push"]

[sources.slack]
scheme = "slack"
secret_env = "FOUR"
instance = "{url:id}"

[sources.bank]
scheme = "hmac"
secret_env = "FIVE"
header = "Bank-Signature"
algorithm = "sha512"
prefix = "hmac="
timestamp_header = "Bank-Time"
signed = "{timestamp}/{header:Bank-Kind}/{body}"
delivery = "{header:Bank-Id}"
event = "payment"
instance = "{reference}"
body = "form"
"""


def load(tmp_path: Path, text: str, environment: dict[str, str] | None = None) -> Any:
    file = tmp_path / "hooks.toml"
    file.write_text(text)
    return load_sources(file, ENVIRONMENT if environment is None else environment)


def test_everything_that_a_source_can_say_can_stand_in_the_file(tmp_path: Path) -> None:
    standard, stripe, github, slack, bank = load(tmp_path, EVERYTHING)
    assert (standard.name, standard.correlation, standard.data) == ("standard", "order:{data.order_id}", "data")
    assert (standard.start.workflow, standard.start.id) == ("order", "order-{data.order_id}")
    assert (list(standard.start.events), standard.start.tags) == (["created"], {"order": "{data.order_id}"})
    assert is_accepted(standard.verifier, SCHEMES["standard webhooks"].sign(SECRET, BODY, AT), BODY, AT + 599)
    assert stripe.event_names() == {"payment_intent.succeeded": "paid", "charge.refunded": "refunded"}
    assert is_accepted(stripe.verifier, SCHEMES["stripe"].sign(OTHER_SECRET, BODY, AT), BODY)
    assert not is_accepted(stripe.verifier, SCHEMES["stripe"].sign(OTHER_SECRET, BODY, AT), BODY, AT + 301)
    assert (github.event, github.event_names()) == ("github.{header:x-github-event}", {"github.push": "github.push"})
    assert slack.instance == "{url:id}"
    assert bank.body == "form"
    signed = SCHEMES["hmac, hex, with a time and a header"].sign(ENVIRONMENT["FIVE"], BODY, AT)
    assert is_accepted(bank.verifier, signed, BODY)


HEAD = '[sources.stripe]\nscheme = "stripe"\nsecret_env = "ONE"\n'


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "sources: is missing"),
        ("sources = 5", "sources: must be a table$"),
        ("[sources", "not TOML: "),
        ("[" * 5000, "not TOML: "),
        ("[other]", "sources: is missing"),
        (HEAD + 'instance = "{id}"\n[server]', "the file: 'server' is no setting of the file; there are sources$"),
        ("[sources.stripe]\nsecret_env = 'ONE'", "sources.stripe.scheme: is missing; there are standard-webhooks, "),
        ("[sources.stripe]\nscheme = 'soap'", "sources.stripe.scheme: there is no 'soap'; there are .*, hmac$"),
        ("[sources.stripe]\nscheme = 'stripe'", "sources.stripe.secret_env: is missing$"),
        (HEAD, "source 'stripe': must have either instance or correlation"),
        (HEAD + "instance = 5", "sources.stripe.instance: should be a valid string"),
        (HEAD + 'instance = "{id}"\nsecret = "x"', "sources.stripe: 'secret' is no setting of "),
        (
            HEAD + 'instance = "{id}"\nheader = "x"',
            "sources.stripe: 'header' is no setting of a source with the scheme 'stripe'; there are secret_env, ",
        ),
        (HEAD + 'correlaton = "{id}"', "sources.stripe: 'correlaton' is no setting of a source .*, correlation, "),
        (
            HEAD + 'correlation = "{id}"\nstart = { workflow = "order", tag = {} }',
            "sources.stripe.start: 'tag' is no setting of start; there are workflow, id, events, tags$",
        ),
        (HEAD + 'instance = "{id}"\ndata = "{payment}"', "source 'stripe': data: '{payment}' must be a path"),
        ("[sources]\nstripe = 5", "sources.stripe: must be a table$"),
        (HEAD + 'correlation = "{id}"\nstart = 5', "sources.stripe.start: must be a table$"),
        (HEAD + 'instance = "{id}"\nevents = 5', "sources.stripe.events: should be a valid "),
        (HEAD + 'instance = "{id}"\nevents = { paid = 5 }', "sources.stripe.events.*: should be a valid "),
        (HEAD + 'correlation = "{id}"\nstart = {}', "sources.stripe.start.workflow: is missing$"),
        (HEAD + 'correlation = "{id}"\nstart = { workflow = "" }', "source 'stripe': start.workflow: "),
        (HEAD + 'instance = "{id}"\ntolerance_s = -1', "source 'stripe': tolerance_s: must be positive"),
        (HEAD.replace("ONE", "NONE") + 'instance = "{id}"', "source 'stripe': secret_env: .* no variable 'NONE'"),
        (HEAD.replace("ONE", "EMPTY") + 'instance = "{id}"', "source 'stripe': secret_env: .* no variable 'EMPTY'"),
        (HEAD.replace('"ONE"', "[]") + 'instance = "{id}"', "source 'stripe': secret_env: must name at least one"),
        (HEAD.replace("stripe]", "hook]") + 'instance = "{id}"', "source 'hook': "),
        (HEAD.replace("stripe]", '"a b"]') + 'instance = "{id}"', "source 'a b': "),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(InvalidInputError, match=f"hooks.toml: {sentence}") as caught:
        load(tmp_path, text)
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_secret_that_is_written_into_the_file_by_mistake_is_not_told_on(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError) as caught:
        load(tmp_path, f'[sources.stripe]\nscheme = "stripe"\nsecret = "{SECRET}"\nsecret_env = 7')
    assert SECRET not in str(caught.value)


def test_a_file_that_cannot_be_read_is_told_by_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"none.toml: cannot be read: "):
        load_sources(tmp_path / "none.toml", {})
    with pytest.raises(InvalidInputError, match=r"cannot be read: "):
        load_sources(tmp_path, {})
    (tmp_path / "latin.toml").write_bytes(b"# \xff")
    with pytest.raises(InvalidInputError, match=r"latin.toml: is not UTF-8"):
        load_sources(tmp_path / "latin.toml", {})
    (tmp_path / "large.toml").write_bytes(b"#" * 1024 * 1025)
    with pytest.raises(InvalidInputError, match=r"large.toml: has more than 1,048,576 bytes"):
        load_sources(tmp_path / "large.toml", {})
