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
    ├── BadSignatureError
    ├── UnknownSourceError
    ├── NotLocalError
    ├── NotAllowedError
    ├── MissingScopeError
    ├── ForeignOriginError
    ├── UnknownHostError
    ├── BodyTooSlowError
    ├── TooManyStreamsError
    └── UnsupportedEncodingError
"""

from collections.abc import Mapping

from pylon_workflows.errors import CallerError, InvalidInputError, TooLargeError


class MalformedJsonError(InvalidInputError, code="malformed-json"):
    """The body is not JSON, or holds what JSON would lose or change (PROMISES.md P31)."""


class BodyTooLargeError(TooLargeError, code="body-too-large"):
    """The body has more than `max_body_bytes`."""


class RefusedRequestError(CallerError, code="refused"):
    """The request is refused for what it is, whatever it asks for; `headers` go with the answer."""

    def __init__(self, message: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.headers = dict(headers or {})


class UnknownRouteError(RefusedRequestError, code="unknown-route"):
    """The API has no such path."""


class MethodNotAllowedError(RefusedRequestError, code="method-not-allowed"):
    """The path exists and does not take this method."""


class MissingTokenError(RefusedRequestError, code="unauthorized"):
    """The API wants a token and the request does not carry one that counts."""


class BadSignatureError(RefusedRequestError, code="bad-signature"):
    """A webhook is not signed by who has the secret, or was signed too long ago."""


class UnknownSourceError(RefusedRequestError, code="unknown-source"):
    """No webhooks are taken at this path."""


class NotLocalError(RefusedRequestError, code="forbidden"):
    """The API has no token and the request did not come straight from a program on this machine."""


class NotAllowedError(RefusedRequestError, code="not-allowed"):
    """The host application's own `authorize` said no."""


class MissingScopeError(RefusedRequestError, code="missing-scope"):
    """The caller is known, and may do other things than this."""


class ForeignOriginError(RefusedRequestError, code="foreign-origin"):
    """A page of another site sent the request, from a browser in which somebody may be logged in."""


class UnknownHostError(RefusedRequestError, code="unknown-host"):
    """The Host header names none of the API's own hosts."""


class BodyTooSlowError(RefusedRequestError, code="body-timeout"):
    """The body did not arrive in time."""


class TooManyStreamsError(RefusedRequestError, code="too-many-streams"):
    """The application sends as many streams as it may."""


class UnsupportedEncodingError(RefusedRequestError, code="unsupported-encoding"):
    """The body is compressed."""
