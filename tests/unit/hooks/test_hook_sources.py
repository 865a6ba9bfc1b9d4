from typing import Any

import pytest
from hook_signing import OTHER_SECRET, SECRET

from pylon_workflows.errors import InvalidInputError
from pylon_workflows.hooks import GitHub, HmacSignature, HookSource, HookStart, Slack, Stripe, create_hooks_app
from pylon_workflows.hooks.signatures.verifier import RawHeaders
from pylon_workflows.testing import engine_in_memory

ENGINE = engine_in_memory(None)


class OwnVerifier:
    """One of an application's own."""

    def verify(self, headers: RawHeaders, body: bytes, now: float) -> None:
        """Take everything."""


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "must have either instance or correlation"),
        ({"instance": "{id}", "correlation": "{id}"}, "must have either instance or correlation"),
        ({"instance": "{"}, "instance: "),
        ({"correlation": "order:{a..b}"}, "correlation: "),
        ({"instance": "{id}", "event": ""}, "event: "),
        ({"instance": "{id}", "delivery": "same"}, "delivery: is the same for all"),
        ({"instance": "{id}", "data": "a..b"}, "data: "),
        ({"instance": "{id}", "data": "{payment}"}, "data: '{payment}' must be a path, such as data.object, without b"),
        ({"instance": "{id}", "data": "payment}"}, "data: 'payment}' must be a path"),
        ({"instance": "{id}", "body": "xml"}, "body: "),
        ({"instance": "{id}", "events": "paid"}, "events: must be a list"),
        ({"instance": "{id}", "events": [""]}, "events: "),
        ({"instance": "{id}", "events": {"paid": "x" * 129}}, "events.paid: "),
        ({"instance": "{id}", "start": HookStart(workflow="order")}, "start: goes only with a correlation"),
    ],
)
def test_a_source_that_makes_no_sense_is_refused_by_name(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^source 'stripe': {sentence}"):
        HookSource("stripe", Stripe(SECRET), **options)


@pytest.mark.parametrize("name", ["", "hook", "a b", "a/b", "é", "x" * 33, "..", None])
def test_a_name_that_cannot_stand_in_a_url_is_refused(name: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"^source "):
        HookSource(name, Stripe(SECRET), instance="{id}")


def test_what_the_scheme_does_not_say_the_source_must() -> None:
    verifier = HmacSignature(SECRET, header="s")
    for given in ({}, {"delivery": "{id}"}, {"event": "paid"}):
        with pytest.raises(InvalidInputError, match=r"^source 'shop': (delivery|event): must be a template"):
            HookSource("shop", verifier, instance="{order}", **given)
    HookSource("shop", verifier, instance="{order}", event="paid", delivery="{id}")
    HookSource("own", OwnVerifier(), instance="{order}", event="paid", delivery="{id}")


@pytest.mark.parametrize(
    "options",
    [
        {"workflow": ""},
        {"workflow": "order", "id": "{"},
        {"workflow": "o", "events": "p"},
        {"workflow": "o", "tags": {"a": "{"}},
        {"workflow": "o", "tags": {"a b": "{id}"}},
    ],
)
def test_a_start_that_makes_no_sense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=r"^(start\.|tags: )"):
        HookStart(**options)


def test_two_sources_have_neither_one_name_nor_one_secret() -> None:
    stripe = HookSource("stripe", Stripe(SECRET), instance="{id}")
    create_hooks_app(ENGINE, [stripe, HookSource("slack", Slack(OTHER_SECRET), instance="{id}")])
    with pytest.raises(InvalidInputError, match="there are two of that name"):
        create_hooks_app(ENGINE, [stripe, HookSource("stripe", Slack(OTHER_SECRET), instance="{id}")])
    with pytest.raises(InvalidInputError, match="source 'github': has a secret of 'stripe'") as caught:
        create_hooks_app(ENGINE, [stripe, HookSource("github", GitHub([OTHER_SECRET, SECRET]), instance="{id}")])
    assert SECRET not in str(caught.value)


def test_one_source_in_place_of_a_list_is_told_so() -> None:
    stripe = HookSource("stripe", Stripe(SECRET), instance="{id}")
    with pytest.raises(InvalidInputError, match=r"must be a list, such as \[source\], not the source .stripe"):
        create_hooks_app(ENGINE, stripe)  # type: ignore[arg-type]


def test_a_source_that_people_print_shows_no_secret() -> None:
    assert SECRET not in repr(HookSource("stripe", Stripe(SECRET), instance="{id}"))
