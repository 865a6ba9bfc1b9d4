"""One HTTP/1.1 connection: one request at a time, and whatever the other side makes of it (PROMISES.md P19).

The parser is llhttp's. What it leaves open is decided here: how much is read, until when, and what a connection that
ends has said.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import NamedTuple, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from pylon_workflows.http_client.body_stream import BodyStream

MAX_OVERHEAD_BYTES = 64 * 1024
"""So many bytes may come that bring no body: headers, interim answers, trailers, chunk extensions."""

_SMALL_BODY_BYTES = 64 * 1024


class Answer(NamedTuple):
    """An HTTP answer. Names of headers are in lower case; of headers with one name the last is there.

    The body of one that `is_cut_off` was, or was said to be, larger than the client reads: what is there is its
    beginning. One that is read while it comes has a `stream` in place of the body.
    """

    status: int
    headers: Mapping[bytes, bytes]
    body: bytes
    is_cut_off: bool
    stream: BodyStream | None = None

    def header(self, name: bytes) -> str | None:
        """A header's value; any bytes make some text (latin-1)."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")


IsStream = Callable[[int, Mapping[bytes, bytes]], bool]
"""Whether the body of an answer with this status and these headers is to be read while it comes."""


class HttpClientError(Exception):
    """There is no answer; the message says why."""


class CannotConnectError(HttpClientError):
    """There was no connection, so nothing was sent."""


class ConnectionBrokenError(HttpClientError):
    """The connection ended after the request was sent; the server may have done what it asks."""


class NotHttpError(HttpClientError):
    """What came back is no HTTP."""


class NoAnswerInTimeError(HttpClientError):
    """The deadline has passed; the connection was hung up."""


class ClientClosedError(HttpClientError):
    """The client was closed on this side."""


class HttpConnection(asyncio.Protocol):
    """Made by `HttpClient`. `has_ended` is told when the connection is gone."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, max_body_bytes: int, has_ended: Callable[["HttpConnection"], None]
    ) -> None:
        self._loop = loop
        self._max_body_bytes = max_body_bytes
        self._has_ended = has_ended
        self._parser = HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._asked: asyncio.Future[Answer] | None = None
        self._is_stream: IsStream | None = None
        self._stream: BodyStream | None = None
        self._deadline = 0.0
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = 0.0
        self._status = 0
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._size = 0
        self._overhead = 0
        self._has_head = False
        self._is_complete = False
        self._is_cut_off = False
        self._is_kept_alive = False
        self._is_large = False
        self._is_hung_up = False
        self.idle_since = 0.0
        self.ended = asyncio.Event()

    @property
    def is_open(self) -> bool:
        """Whether neither side has ended it."""
        return self._transport is not None and not self._is_hung_up

    @property
    def is_reusable(self) -> bool:
        """Whether the next request may be sent on it."""
        has_been_read = self._stream is None or self._stream.is_over
        return self._is_kept_alive and self._asked is None and self.is_open and has_been_read

    def ask(
        self, head: bytes, body: bytes, deadline: float, is_stream: IsStream | None = None
    ) -> asyncio.Future[Answer]:
        """Send a request, all of it; `deadline` is the loop's time. The future raises HttpClientError.

        The deadline is for the whole answer, or for the head of one whose body is a stream.
        """
        self._asked = asked = self._loop.create_future()
        self._is_stream = is_stream
        self._stream = None
        if self._transport is None:
            asked.set_exception(CannotConnectError("it was closed at once"))
            return asked
        self._headers = {}
        self._body = []
        self._size = self._overhead = 0
        self._has_head = self._is_complete = self._is_cut_off = self._is_kept_alive = False
        self._deadline = deadline
        if self._alarm is None or deadline < self._alarm_at:
            self._set_alarm()
        self._is_large = len(body) > _SMALL_BODY_BYTES
        if self._is_large:
            self._transport.write(head)
            self._transport.write(body)
        else:
            self._transport.write(head + body)
        return asked

    def abort(self) -> None:
        """Hang up at once; who waits for an answer hears that the client was closed."""
        self._is_hung_up = True
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        """End; an answer without a length is complete by this."""
        self._transport = None
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._is_hung_up:
            self._fail(ClientClosedError("closed on this side"))
        elif error is None and self._has_head and self._ends_with_connection():
            self._answer()
        else:
            self._fail(ConnectionBrokenError(_reason(error)))
        self.ended.set()
        self._has_ended(self)

    def eof_received(self) -> None:
        """The other side says no more. The connection may stay open for long: while it does not read the request."""
        if (self._asked or self._stream) and self._has_head and self._ends_with_connection():
            self._answer()
        else:
            self._fail(ConnectionBrokenError(_reason(None)))

    def data_received(self, data: bytes) -> None:
        """Parse; finish when the answer is complete, or cannot become one."""
        if self._asked is None and (self._stream is None or self._is_complete):
            self.abort()  # it speaks without being asked
            return
        self._overhead += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self._is_kept_alive = False
        except HttpParserError as error:
            self._is_kept_alive = False
            if not self._is_complete:
                self._fail(NotHttpError(str(error)))
                return
        if self._is_complete or self._is_cut_off:
            self._answer()
        elif self._overhead > MAX_OVERHEAD_BYTES:
            self._fail(NotHttpError(f"more than {MAX_OVERHEAD_BYTES} bytes of headers"))

    def on_message_begin(self) -> None:
        """The parser's: one more answer begins. Only an interim one may have come before it."""
        if self._is_complete:
            self._is_kept_alive = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """The parser's: a header, or a trailer, which nobody reads."""
        if not self._has_head:
            self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """The parser's: the head is there."""
        if self._is_complete:
            return
        self._status = self._parser.get_status_code()
        self._has_head = True
        if self._status < 200 or self._status in (204, 304):
            return
        if self._is_stream is not None and self._is_stream(self._status, self._headers):
            self._begin_stream()
            return
        declared = self._headers.get(b"content-length")
        if declared is not None and int(declared) > self._max_body_bytes:
            self._is_cut_off = True

    def on_body(self, body: bytes) -> None:
        """The parser's: a piece of the body."""
        if self._is_complete:
            return
        self._overhead = 0
        if self._stream is not None:
            self._stream.feed(body)
        else:
            self._body.append(body)
            self._size += len(body)
            if self._size > self._max_body_bytes:
                self._is_cut_off = True

    def on_message_complete(self) -> None:
        """The parser's: an answer is complete, which an interim one (100, 103) is not."""
        if self._is_complete:
            return
        if 100 <= self._status < 200 and self._status != 101:
            self._headers = {}
            self._has_head = False
            return
        self._is_complete = True
        self._is_kept_alive = self._parser.should_keep_alive()

    def _ends_with_connection(self) -> bool:
        return b"content-length" not in self._headers and b"transfer-encoding" not in self._headers

    def _answer(self) -> None:
        asked, self._asked = self._asked, None
        if self._stream is not None:
            self._stream.end()
        elif asked is not None and not asked.done():
            pieces = self._body[:1] if self._is_cut_off else self._body  # of one too long, the beginning is told
            body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            self._body = []
            asked.set_result(Answer(self._status, self._headers, body, self._is_cut_off))
        if not self._is_kept_alive or self._is_cut_off or self._is_still_sending():
            self.abort()

    def _is_still_sending(self) -> bool:
        """Whether the answer came before all of the request was taken, of which the server may never read the rest."""
        return self._is_large and self._transport is not None and self._transport.get_write_buffer_size() > 0

    def _begin_stream(self) -> None:
        asked, self._asked = self._asked, None
        self._stream = BodyStream(pause=self._pause, resume=self._resume)
        if asked is not None and not asked.done():
            asked.set_result(Answer(self._status, self._headers, b"", False, self._stream))

    def _pause(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._transport is not None and not self._is_hung_up:
            self._transport.resume_reading()

    def _fail(self, error: HttpClientError) -> None:
        asked, self._asked = self._asked, None
        if self._stream is not None:
            self._stream.end(error)
        elif asked is not None and not asked.done():
            asked.set_exception(error)
        self.abort()

    def _set_alarm(self) -> None:
        """Ring at the deadline. One alarm serves many requests: it is only moved when it would ring too late."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = self._deadline
        self._alarm = self._loop.call_at(self._deadline, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        if self._asked is None:
            return
        if self._loop.time() < self._deadline:
            self._set_alarm()
        else:
            self._fail(NoAnswerInTimeError("no answer by the deadline"))


def _reason(error: Exception | None) -> str:
    if error is None:
        return "it was closed before the answer was complete"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
