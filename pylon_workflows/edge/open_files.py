"""How many files and connections this process may have open at a time."""

import logging
import sys

if sys.platform != "win32":
    import resource

_log = logging.getLogger(__name__)

_OF_USE = (65_536, 10_240, 4_096)
"""More than the first is no use to one server. Some systems (macOS) name no limit, and refuse what is beyond it."""

MOST_CONNECTIONS = 10_000
_OTHERS = 128
"""The database, its socket and its standbys, logs, the loop's own."""


def raise_limit() -> int:
    """Let this process open as many files as it may, as far as that is of use, and tell how many."""
    if sys.platform == "win32":
        return _OF_USE[-1]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _OF_USE[0]
    for wanted in _OF_USE if hard == resource.RLIM_INFINITY else (min(hard, _OF_USE[0]),):
        if soft >= wanted:
            break
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (ValueError, OSError) as error:
            _log.warning("the limit of open files cannot be raised from %d to %d: %s", soft, wanted, error)
        else:
            return wanted
    return soft


def connections_within(limit: int, *, for_runners: int) -> int:
    """How many callers' connections leave enough files for everything else, when so many runners' may be open."""
    left = limit - for_runners - accepted_at_once(limit) - _OTHERS
    return max(1, min(MOST_CONNECTIONS, max(left, limit // 4)))


def accepted_at_once(limit: int) -> int:
    """How many connections may stand in the queue; the event loop takes so many before it looks how many there are."""
    return min(2048, max(16, limit // 16))
