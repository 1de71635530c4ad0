"""The door: who may ask, what every response carries, and what a fault looks like from outside.

The outermost layer. Without a key only this machine is served, and only under its own names: a page
of the web cannot let a browser ask us by a name that it has made point here (DNS rebinding).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import uuid
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lasttoken.deploy.serving.batcher import describe
from lasttoken.deploy.serving.refusal import RequestError, failed
from lasttoken.events import EventCallback, Note

# What orchestrators ask, and what a browser needs before a key can be typed in.
_OPEN_PATHS = frozenset({"/livez", "/readyz", "/", "/page.css", "/page.js", "/report.css"})

_LOOPBACK_NAME = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?", re.IGNORECASE)

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Access:
    """Who may ask.

    Attributes:
        key_sha256: of the API key; None if there is none.
        loopback_only: whether only names of this machine are served.
    """

    key_sha256: bytes | None
    loopback_only: bool


def hash_key(key: str) -> bytes:
    """Return what of an API key is kept."""
    return hashlib.sha256(key.encode()).digest()


class Door:
    """An ASGI application around the real one.

    Args:
        app: the real one.
        access: who may ask.
        on_event: hears of faults.
    """

    def __init__(self, app: ASGIApp, access: Access, *, on_event: EventCallback) -> None:
        self._app = app
        self._access = access
        self._on_event = on_event

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; never raises."""
        if scope["type"] != "http":  # start and end of the server
            await self._app(scope, receive, send)
            return
        request_id = uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        has_begun = False

        async def send_with_headers(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                headers = MutableHeaders(scope=message)
                for name, value in {**_HEADERS, "X-Request-Id": request_id}.items():
                    headers[name] = value
            await send(message)

        try:
            self._check(scope)
            await self._app(scope, receive, send_with_headers)
        except RequestError as refusal:
            await _respond(refusal, request_id, send_with_headers)
        except Exception as error:  # our bug: told to the operator, not to the client
            self.tell(request_id, error)
            if not has_begun:
                await _respond(failed(), request_id, send_with_headers)

    def tell(self, request_id: str, error: BaseException) -> None:
        """Tell the operator of a fault; nothing that a client sent is part of it."""
        self._on_event(Note(f"request {request_id} failed: {describe(error)}", is_warning=True))

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if self._access.loopback_only and not (
            len(hosts) == 1 and _LOOPBACK_NAME.fullmatch(hosts[0])
        ):
            raise RequestError(
                421,
                "unknown_host",
                "a Host header that names another machine",
                expected="localhost, 127.0.0.1 or [::1]: this server is for this machine alone",
                remedy="http://localhost, or serve others: lasttoken serve RUN --host ADDRESS "
                "--api-key-file FILE",
                headers={"Connection": "close"},
            )
        if self._access.key_sha256 is None or scope["path"] in _OPEN_PATHS:
            return
        if not any(
            hmac.compare_digest(hashlib.sha256(key).digest(), self._access.key_sha256)
            for key in _keys(headers)
        ):
            raise RequestError(
                401,
                "no_key",
                "no API key, or another one",
                expected="the key of this server",
                remedy="Authorization: Bearer KEY",
                headers={"WWW-Authenticate": "Bearer", "Connection": "close"},
            )


def _keys(headers: Headers) -> list[bytes]:
    """Return the keys that a request brings."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    brought = [key.strip()] if scheme.lower() == "bearer" else []
    return [key.encode("latin-1") for key in (*brought, *headers.getlist("x-api-key"))]


async def _respond(refusal: RequestError, request_id: str, send: Send) -> None:
    body = json.dumps(refusal.content(request_id), ensure_ascii=False).encode()
    headers = {"Content-Type": "application/json", **refusal.headers}
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    raw.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": refusal.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
