"""What a header of a delivery says, for sources and for hook URLs alike.

The headers of a signature have a stricter rule (`signatures/checks.py`): they decide who is let in.
"""

from pylon_workflows.hooks.signatures.verifier import RawHeaders


class AmbiguousHeaderError(Exception):
    """The header stands there with several values; the message names it and shows none of them."""


def header_text(headers: RawHeaders, name: str) -> str | None:
    """The value of a header; None where it is missing or empty.

    One that stands there repeatedly with one value is that one: proxies do so. What is not UTF-8 is Latin-1, as all
    headers once were: an id that is written oddly is an id all the same, and its event is not to be lost.

    Raises:
        AmbiguousHeaderError
    """
    wanted = name.lower().encode()
    values = {value.strip(b" \t") for key, value in headers if key.lower() == wanted} - {b""}
    if len(values) > 1:
        raise AmbiguousHeaderError(f"the header {name} stands there repeatedly, with several values")
    if not values:
        return None
    [value] = values
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
