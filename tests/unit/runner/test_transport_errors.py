"""The HTTP client's exceptions, as they were seen, and those that a test cannot provoke."""

import pytest
from pyreqwest.exceptions import (
    BodyDecodeError,
    ClientClosedError,
    ConnectError,
    ConnectTimeoutError,
    DecodeError,
    PoolTimeoutError,
    PyreqwestError,
    ReadError,
    ReadTimeoutError,
    RequestPanicError,
)

from pylon_workflows.errors import RunnerError, RunnerUnavailableError, TurnTimedOutError
from pylon_workflows.runner.transport_errors import translate

SENDING, CONNECTING = "client error (SendRequest)", "client error (Connect)"


def translated(kind: type[PyreqwestError], *causes: str) -> RunnerError:
    error = kind("what it is", {"causes": [{"message": cause} for cause in causes] or None})  # type: ignore[arg-type]
    return translate(error, runner="localhost:1", timeout_s=30)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            translated(ConnectError, "error sending request", CONNECTING, "Connection refused (os error 111)"),
            "cannot connect to the runner at localhost:1: Connection refused (os error 111)",
        ),
        (
            translated(ConnectTimeoutError, "error sending request", CONNECTING, "deadline has elapsed"),
            "cannot connect to the runner at localhost:1: no connection in time",
        ),
        (translated(PoolTimeoutError), "no connection to the runner at localhost:1 was free"),
        (translated(ClientClosedError), "the runner's connections have been closed here"),
        (
            translated(DecodeError, "error sending request", SENDING, "invalid HTTP version parsed"),
            "the runner at localhost:1 does not answer in proper HTTP: invalid HTTP version parsed",
        ),
        (translated(RequestPanicError), "the runner at localhost:1 does not answer in proper HTTP: what it is"),
        (
            translate(PyreqwestError("unheard of"), runner="localhost:1", timeout_s=1),
            "the runner at localhost:1 does not answer in proper HTTP: unheard of",
        ),
    ],
)
def test_no_connection_or_no_http_is_unavailable_and_no_dropped_turn(error: RunnerError, reason: str) -> None:
    assert isinstance(error, RunnerUnavailableError)
    assert str(error) == reason
    assert not error.has_dropped_turn


@pytest.mark.parametrize(
    "error",
    [
        translated(ConnectError, "error sending request", SENDING, "connection closed before message completed"),
        translated(ConnectError, "error sending request", SENDING, "Connection reset by peer (os error 104)"),
        translated(ReadError, "error reading a body from connection", "unexpected EOF during chunk size line"),
        translated(BodyDecodeError, "error reading a body", "end of file before message length reached"),
        translated(ReadTimeoutError, "error reading a body", "Connection timed out (os error 110)"),
    ],
)
def test_a_connection_that_breaks_after_the_request_was_sent_is_a_dropped_turn(error: RunnerError) -> None:
    assert isinstance(error, RunnerUnavailableError)
    assert str(error).startswith("the connection to the runner at localhost:1 broke after the request was sent: ")
    assert error.has_dropped_turn


@pytest.mark.parametrize("kind", [ConnectTimeoutError, ReadTimeoutError])
def test_the_deadline_is_a_timeout_wherever_it_falls_after_connecting(kind: type[PyreqwestError]) -> None:
    error = translated(kind, "error sending request", "operation timed out")
    assert isinstance(error, TurnTimedOutError)
    assert str(error) == "timed out after 30 s"
