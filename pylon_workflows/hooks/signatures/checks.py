"""What all schemes check alike: a header that stands there once, a time that is near, a text that is one of several."""

import hmac
import math
import re
from collections.abc import Iterable, Sequence

from pylon_workflows.api.refusals import BadSignatureError
from pylon_workflows.errors import InvalidInputError
from pylon_workflows.hooks.signatures.verifier import RawHeaders

TOLERANCE_S = 300.0
"""How far a signed time may be from ours, before and after."""

_SECONDS = re.compile(rb"[0-9]{1,12}")


def refused(reason: str) -> BadSignatureError:
    """The one error of all verifiers."""
    return BadSignatureError(reason, headers={"www-authenticate": 'Signature realm="pylon-workflows"'})


def one(headers: RawHeaders, name: bytes) -> bytes:
    """The only header of that name (in lower case). Raises BadSignatureError: none, several."""
    values = [value for key, value in headers if key.lower() == name]
    if len(values) != 1:
        shown = name.decode("latin-1")
        raise refused(f"the header {shown} is missing" if not values else f"the header {shown} stands there repeatedly")
    return values[0]


def check_signed(given: Sequence[bytes], expected: Iterable[bytes]) -> None:
    """Raise BadSignatureError unless one of the given texts is one of the expected, in a time that tells nothing."""
    is_right = False
    for wanted in expected:
        for text in given:
            is_right |= hmac.compare_digest(text, wanted)
    if not is_right:
        raise refused("the signature is not that of this body with any of this source's secrets")


def seconds(text: bytes) -> float:
    """Unix seconds. Raises BadSignatureError for anything but digits."""
    if not _SECONDS.fullmatch(text):
        raise refused("the signed time is no number of unix seconds")
    return float(int(text))


def check_time(signed_at: float, now: float, tolerance_s: float) -> None:
    """Raise BadSignatureError when the time is further away than tolerated. Called after the signature was checked."""
    if not abs(now - signed_at) <= tolerance_s:
        late = "old" if signed_at < now else "far in the future"
        raise refused(f"signed {abs(now - signed_at):.0f} s away from this machine's time, which is too {late}")


def checked_tolerance(tolerance_s: float) -> float:
    """The tolerance. Raises InvalidInputError unless it is positive and finite."""
    if isinstance(tolerance_s, bool) or not isinstance(tolerance_s, int | float):
        raise InvalidInputError("tolerance_s: must be a number of seconds")
    if not 0 < tolerance_s < math.inf:
        raise InvalidInputError(f"tolerance_s: must be positive, not {tolerance_s}")
    return float(tolerance_s)
