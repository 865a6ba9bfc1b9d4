from typing import Any

import pytest

from pylon_workflows.errors import InvalidInputError
from pylon_workflows.hooks.sent_headers import AmbiguousHeaderError
from pylon_workflows.hooks.templates import Arrived, MissingError, Template

BODY = {
    "id": "evt_1",
    "data": {"order_id": 7, "lines": [{"sku": "A-1"}, {"sku": "B-2"}], "empty": "", "paid": True, "sum": 1.5},
    "7": {"x": "seven"},
    "none": None,
}
HEADERS = [
    (b"x-delivery", b"d-1"), (b"x-twice", b"1"), (b"x-twice", b"2"), (b"x-same", b"1"), (b"x-same", b"1 "),
    (b"x-text", "\u00fc".encode()), (b"x-raw", b"\xff"), (b"x-empty", b""), (b"x-blank", b" \t"),
]  # fmt: skip
ARRIVED = Arrived(BODY, HEADERS, "url-id")


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("fixed", "fixed"),
        ("order:{data.order_id}", "order:7"),
        ("{id}", "evt_1"),
        ("{data.lines.1.sku}", "B-2"),
        ("{7.x}", "seven"),
        ("{header:x-delivery}", "d-1"),
        ("{header:X-Delivery}", "d-1"),
        ("{url:id}", "url-id"),
        ("{nothing|data.empty|id}", "evt_1"),
        ("{ nothing | id }", "evt_1"),
        ("{header:x-none|url:id}", "url-id"),
        ("{header:x-same}", "1"),
        ("{header:x-text}", "\u00fc"),
        ("{header:x-raw}", "\u00ff"),
        ("{{{id}}}", "{evt_1}"),
        ("}}{{", "}{"),
        ("{id}-{data.order_id}", "evt_1-7"),
    ],
)
def test_gaps_are_filled(text: str, filled: str) -> None:
    assert Template(text, "event").fill(ARRIVED) == filled


@pytest.mark.parametrize(
    "text",
    [
        "{nothing}", "{data.nothing}", "{id.x}", "{data.lines.2.sku}", "{data.lines.-1.sku}", "{data.lines.x}",
        "{data}", "{data.lines}", "{data.empty}", "{data.paid}", "{data.sum}", "{none}", "{header:x-none}",
        "{header:x-empty}", "{header:x-blank}", "{nothing|none}",
    ],
)  # fmt: skip
def test_what_is_not_there_or_no_text_is_missing(text: str) -> None:
    with pytest.raises(MissingError) as caught:
        Template(text, "event").fill(ARRIVED)
    assert "evt_1" not in str(caught.value)


@pytest.mark.parametrize("text", ["{header:x-twice}", "{header:x-twice|id}", "{id|header:x-none}{header:X-Twice}"])
def test_a_header_that_says_several_things_says_nothing_and_nothing_stands_in_for_it(text: str) -> None:
    with pytest.raises(AmbiguousHeaderError, match="several values"):
        Template(text, "event").fill(ARRIVED)


@pytest.mark.parametrize("body", [None, 5, "text", [], ["id"], True])
def test_a_body_that_is_no_object_has_no_fields(body: Any) -> None:
    with pytest.raises(MissingError):
        Template("{id}", "event").fill(Arrived(body))


def test_without_an_id_in_the_url_its_gap_is_missing() -> None:
    assert Template("{id|url:id}", "event").wants_url_id
    assert not Template("{id}", "event").wants_url_id
    with pytest.raises(MissingError):
        Template("{url:id}", "event").fill(Arrived({}))


@pytest.mark.parametrize(
    "text",
    ["", "{", "}", "{id", "id}", "{}", "{a..b}", "{.a}", "{a|}", "{|}", "{header:}", "{header:a b}", "{url:name}",
     "{body:x}", "{a{b}}", "{" + "a." * 40 + "a}", 5, None],
)  # fmt: skip
def test_braces_and_gaps_that_make_no_sense_are_refused_by_the_name_of_the_field(text: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"^correlation: "):
        Template(text, "correlation")
