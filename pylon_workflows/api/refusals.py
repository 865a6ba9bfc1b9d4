"""What HTTP adds to `errors.py`: requests that are refused before the engine hears of them.

CallerError
├── InvalidInputError
│   └── MalformedJsonError      the body is no JSON, or JSON that would not come back equal
├── TooLargeError
│   └── BodyTooLargeError       the body has more bytes than the limit
└── RefusedRequestError         the request itself is refused; `headers` go with the answer
    ├── UnknownRouteError
    ├── MethodNotAllowedError
    ├── MissingTokenError
    ├── NotLocalError
    ├── BodyTooSlowError
    └── UnsupportedEncodingError
"""

from collections.abc import Mapping

from pylon_workflows.errors import CallerError, InvalidInputError, TooLargeError


class MalformedJsonError(InvalidInputError):
    """The body is not JSON, or holds what JSON would lose or change (PROMISES.md P31)."""

    code = "malformed-json"


class BodyTooLargeError(TooLargeError):
    """The body has more than `max_body_bytes`."""

    code = "body-too-large"


class RefusedRequestError(CallerError):
    """The request is refused for what it is, whatever it asks for; `headers` go with the answer."""

    code = "refused"

    def __init__(self, message: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.headers = dict(headers or {})


class UnknownRouteError(RefusedRequestError):
    """The API has no such path."""

    code = "unknown-route"


class MethodNotAllowedError(RefusedRequestError):
    """The path exists and does not take this method."""

    code = "method-not-allowed"


class MissingTokenError(RefusedRequestError):
    """The API has a token and the request does not carry it."""

    code = "unauthorized"


class NotLocalError(RefusedRequestError):
    """The API has no token and the request did not come straight from a program on this machine."""

    code = "forbidden"


class BodyTooSlowError(RefusedRequestError):
    """The body did not arrive in time."""

    code = "body-timeout"


class UnsupportedEncodingError(RefusedRequestError):
    """The body is compressed."""

    code = "unsupported-encoding"
