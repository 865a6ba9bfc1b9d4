"""Who may call: who has a token, whom the host application lets in, or, without either, programs on this machine."""

import asyncio
import hashlib
import hmac
import inspect
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pylon_workflows.api.origins import check_is_local, check_origin, values_of
from pylon_workflows.api.refusals import MissingTokenError, NotAllowedError
from pylon_workflows.api.scopes import grant, is_open
from pylon_workflows.errors import InvalidInputError, WorkflowError
from pylon_workflows.ports import Engine
from pylon_workflows.tokens import EVERY_SCOPE, Token, checked_own_token, checked_scopes, presented
from pylon_workflows.tokens import Scope as TokenScope

LOOK_AGAIN_S = 5.0
"""How often a stream looks whether the token that opened it still counts, when it has something to send."""

Decision = bool | Collection[str] | None
HostAuthorize = Callable[[Request], Decision | Awaitable[Decision]]
"""The host application's own judgement of a request's head: True for everything, False for nothing, or the scopes.

It may raise Starlette's `HTTPException`, whose status and detail are then the answer.
"""


class Authorize:
    """Lets through who may call, and says what for; `/healthz` needs no token, because probes have none.

    Asked in this order: the tokens of the engine's file, which may do what their scopes say; `token`, which may do
    everything; `authorize`. Where there is none of the three a request is answered only when nothing speaks against its
    coming straight from a program on this machine.

    Raises:
        InvalidInputError: a token that cannot stand in a header or is one of a file's, an `authorize` that cannot be
            called.
        MissingTokenError, NotAllowedError, ForeignOriginError, NotLocalError: on a call; what the engine raises.
    """

    def __init__(
        self,
        app: ASGIApp,
        engine: Engine,
        *,
        token: str | None,
        authorize: HostAuthorize | None = None,
        cors_origins: Collection[str] = (),
    ) -> None:
        if authorize is not None and not callable(authorize):
            raise InvalidInputError(f"authorize: must be a function of the request, not {type(authorize).__name__}")
        self._app = app
        self._engine = engine
        self._token = None if token is None else _hash_of(checked_own_token(token).encode())
        self._authorize = authorize
        self._cors_origins = cors_origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check an HTTP request, then run the application."""
        if scope["type"] == "http":
            given = values_of(scope, b"authorization")
            token = await self._stored(_credentials(given))
            if token is not None:
                scope, send = grant(scope, token.scopes), self._while_it_counts(token, send)
            else:
                scope = grant(scope, await self._granted(scope, given))
        await self._app(scope, receive, send)

    async def _granted(self, scope: Scope, given: Collection[bytes]) -> frozenset[TokenScope]:
        """What callers may do who show none of the file's tokens."""
        if self._token is not None and hmac.compare_digest(_hash_of(_credentials(given) or b""), self._token):
            return EVERY_SCOPE
        if self._token is None and self._authorize is None and not await self._engine.has_tokens():
            check_is_local(scope)
            return EVERY_SCOPE
        if is_open(scope):
            return frozenset()
        if self._authorize is not None:
            return await self._asked(self._authorize, scope)
        if not given:
            raise _refusal("this API wants a token, as the header Authorization: Bearer ...")
        raise _refusal("the Authorization header does not carry a token of this API", error="invalid_token")

    async def _stored(self, credentials: bytes | None) -> Token | None:
        """The token of the file that these are; None for everything else."""
        shown = None if credentials is None else presented(credentials.decode("latin-1"))
        if shown is None:
            return None
        token = await self._engine.find_token(shown.id)
        if not shown.is_right(token) or token is None:
            return None
        if token.has_expired(self._engine.clock.now()):
            raise _refusal(f"the token {token.id} has expired: ask for another", error="invalid_token")
        return token

    def _while_it_counts(self, token: Token, send: Send) -> Send:
        """A `send` that ends a stream of events, which may last for long, once its token counts no more."""
        clock = self._engine.clock
        is_stream, is_over, looked_at = False, False, clock.monotonic()

        async def watched(message: Message) -> None:
            nonlocal is_stream, is_over, looked_at
            if message["type"] == "http.response.start":
                is_stream = any(value.startswith(b"text/event-stream") for _, value in message.get("headers", ()))
            elif is_stream and not is_over and clock.monotonic() - looked_at >= LOOK_AGAIN_S:
                looked_at = clock.monotonic()
                if not await self._counts(token):
                    is_over = True
                    await send({"type": "http.response.body", "body": b""})
            if not is_over:
                await send(message)

        return watched

    async def _counts(self, token: Token) -> bool:
        try:
            known = await self._engine.find_token(token.id)
        except WorkflowError:
            return False
        return known is not None and not known.has_expired(self._engine.clock.now())

    async def _asked(self, authorize: HostAuthorize, scope: Scope) -> frozenset[TokenScope]:
        """What the host application grants. It may know the caller by a cookie, which any page makes a browser send."""
        check_origin(scope, self._cors_origins)
        request = Request(scope)
        # A plain function may wait for a database, and would hold up everybody here.
        decided: Any = authorize(request) if _is_async(authorize) else await asyncio.to_thread(authorize, request)
        if inspect.isawaitable(decided):
            decided = await decided
        if decided is True:
            return EVERY_SCOPE
        if decided is None or decided is False:
            raise NotAllowedError("the application that has this API does not let this caller in")
        if not isinstance(decided, set | frozenset | list | tuple):
            raise TypeError(f"authorize must return a bool or scopes, not {type(decided).__name__}")
        try:
            return checked_scopes(decided) if decided else frozenset()
        except InvalidInputError as error:
            raise TypeError(f"authorize granted what is no scope: {error}") from None


def _is_async(authorize: HostAuthorize) -> bool:
    return inspect.iscoroutinefunction(authorize) or inspect.iscoroutinefunction(type(authorize).__call__)


def _credentials(given: Collection[bytes]) -> bytes | None:
    """What the one Authorization header says after `Bearer`."""
    if len(given) != 1:
        return None
    scheme, _, credentials = next(iter(given)).partition(b" ")
    return credentials.strip(b" ") if scheme.lower() == b"bearer" else None


def _refusal(sentence: str, *, error: str | None = None) -> MissingTokenError:
    challenge = 'Bearer realm="pylon-workflows"' + (f', error="{error}"' if error else "")
    return MissingTokenError(sentence, headers={"www-authenticate": challenge})


def _hash_of(text: bytes) -> bytes:
    """Texts of any length are compared by their hashes, which takes the same time for all."""
    return hashlib.sha256(text).digest()
