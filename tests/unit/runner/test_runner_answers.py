"""PROTOCOL.md section 4, without anything that carries bytes."""

import pytest

from pylon_workflows.errors import MalformedAnswerError, RunnerUnavailableError
from pylon_workflows.runner.answers import format_timeout, read_answer
from runner_protocol.messages import MAX_ANSWER_BYTES


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
