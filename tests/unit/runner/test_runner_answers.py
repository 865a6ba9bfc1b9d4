"""PROTOCOL.md section 4, without anything that carries bytes."""

from datetime import UTC, datetime

import pytest

from pylon_workflows.errors import MalformedAnswerError, RunnerUnavailableError
from pylon_workflows.runner.answers import format_timeout, parse_retry_after, read_answer
from runner_protocol.messages import MAX_ANSWER_BYTES

NOW = datetime(2026, 10, 21, 7, 28, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("1.5", 1.5),
        ("999999999999", 3600.0),
        ("Wed, 21 Oct 2026 07:28:30 GMT", 30.0),
        ("Wed, 21 Oct 2026 09:28:30 +0200", 30.0),
        ("Wed, 21 Oct 2026 07:28:30 -0000", 30.0),
        ("Wed, 21 Oct 2020 07:28:00 GMT", 0.0),
        ("Wed, 21 Oct 2099 07:28:00 GMT", 3600.0),
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("NaN", None),
        ("1e3", None),
        ("٣", None),
        ("Wed, 99 Oct 2026 07:28:00 GMT", None),
        ("Wed, 21 Oct 99999999999 07:28:00 GMT", None),
    ],
)
def test_retry_after_is_read_in_either_form_and_garbage_asks_for_nothing(header: str, seconds: float | None) -> None:
    assert parse_retry_after(header, NOW) == seconds


@pytest.mark.parametrize(
    ("timeout_s", "sentence"),
    [
        (30, "timed out after 30 s"),
        (30.0, "timed out after 30 s"),
        (0.25, "timed out after 0.25 s"),
        (1.50049, "timed out after 1.5 s"),
        (3_000_000.0, "timed out after 3000000 s"),
        (0, "timed out after 0 s"),
    ],
)
def test_a_timeout_names_its_seconds_as_people_write_them(timeout_s: float, sentence: str) -> None:
    assert format_timeout(timeout_s) == sentence


def test_a_reason_names_the_status_and_shows_the_beginning_of_the_body() -> None:
    with pytest.raises(RunnerUnavailableError) as caught:
        read_answer(502, b"<html>" + b"x" * 10_000, retry_after_s=3.0)
    reason = str(caught.value)
    assert reason.startswith("the runner answered 502 Bad Gateway; the body begins '<html>xxx")
    assert len(reason) < 300
    assert caught.value.retry_after_s == 3.0


def test_a_redirect_says_that_it_is_not_followed() -> None:
    with pytest.raises(RunnerUnavailableError, match=r"302 Found \(redirects are not followed\)$"):
        read_answer(302, b"")


def test_a_status_that_nobody_has_named_is_shown_as_a_number() -> None:
    with pytest.raises(RunnerUnavailableError, match=r"answered 599$"):
        read_answer(599, b"")


@pytest.mark.parametrize("encoding", ["gzip", "br", "GZIP", "gzip, identity", "?"])
def test_a_compressed_answer_is_malformed_with_2xx_and_unavailable_with_5xx(encoding: str) -> None:
    with pytest.raises(MalformedAnswerError, match="compressed"):
        read_answer(200, b'{"action":"complete"}', content_encoding=encoding)
    with pytest.raises(RunnerUnavailableError):
        read_answer(500, b'{"action":"complete"}', content_encoding=encoding)


@pytest.mark.parametrize("encoding", [None, "", "identity", " Identity "])
def test_identity_is_no_compression(encoding: str | None) -> None:
    assert read_answer(200, b'{"action":"complete"}', content_encoding=encoding).action == "complete"


def test_too_large_a_page_with_5xx_is_unavailable() -> None:
    with pytest.raises(RunnerUnavailableError, match="answered 500"):
        read_answer(500, b'{"action":"complete","output":"' + b"x" * MAX_ANSWER_BYTES + b'"}')
