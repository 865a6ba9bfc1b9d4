"""What went wrong below HTTP, in the engine's terms.

pyreqwest's exception classes do not tell a refused connection from one that broke after the request was sent (both
are `ConnectError`), nor a slow connect from a slow answer (both `ConnectTimeoutError`); the chain of causes does.
"""

from pyreqwest.exceptions import (
    ClientClosedError,
    DetailedPyreqwestError,
    NetworkError,
    PoolTimeoutError,
    PyreqwestError,
    RequestTimeoutError,
)

from pylon_workflows.errors import RunnerError, RunnerUnavailableError, TurnTimedOutError
from pylon_workflows.runner.answers import format_timeout

_CONNECTING = "client error (Connect)"
_CUT_OFF = ("end of file before message length reached", "connection closed before message completed")
_FROM_THE_SYSTEM = "os error"


def translate(error: PyreqwestError, *, runner: str, timeout_s: float) -> RunnerError:
    """Turn the HTTP client's exception into ours; `runner` is how messages call the runner (its host and port)."""
    causes = _causes(error)
    reason = causes[-1] if causes else error.message
    if isinstance(error, PoolTimeoutError):
        return RunnerUnavailableError(f"no connection to the runner at {runner} was free")
    if isinstance(error, ClientClosedError):
        return RunnerUnavailableError("the runner's connections have been closed here")
    if _CONNECTING in causes:
        if isinstance(error, RequestTimeoutError):
            reason = "no connection in time"
        return RunnerUnavailableError(f"cannot connect to the runner at {runner}: {reason}")
    if isinstance(error, RequestTimeoutError) and _FROM_THE_SYSTEM not in reason:
        return TurnTimedOutError(format_timeout(timeout_s))
    if isinstance(error, (NetworkError, RequestTimeoutError)) or reason in _CUT_OFF:
        return RunnerUnavailableError(
            f"the connection to the runner at {runner} broke after the request was sent: {reason}",
            has_dropped_turn=True,
        )
    return RunnerUnavailableError(f"the runner at {runner} does not answer in proper HTTP: {reason}")


def _causes(error: PyreqwestError) -> list[str]:
    if not isinstance(error, DetailedPyreqwestError) or not error.details["causes"]:
        return []
    return [cause["message"] for cause in error.details["causes"]]
