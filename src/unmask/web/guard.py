"""Middleware for all requests: checks of host, origin and token, limits on uploads, security headers and the log."""

import asyncio
import hmac
import logging
import time
from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unmask.web.answers import Problem
from unmask.web.gauges import Gauges
from unmask.web.jobs import Desk, RefusedError
from unmask.web.limits import OVERHEAD

log = logging.getLogger("unmask.web")
OPEN = ("/", "/health")  # readable without a token, because they reveal nothing about the content of files
STATIC = "/static/"
REQUESTS = 400  # maximum number of requests at a time, including streams of events
BODY = "unmask.body"  # key of the upload's `Body` in the scope
PAGE = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": PAGE,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}


def respond(status: int, problem: Problem, **headers: str) -> JSONResponse:
    """Return an error response; all errors have this form."""
    if problem.retry_after is not None:
        headers["Retry-After"] = str(problem.retry_after)
    return JSONResponse(problem.model_dump(), status, headers)


class Guard:
    """ASGI middleware around the whole application.

    Args:
        app: the application.
        hosts: host names that a request may name; others are refused, so that a foreign web site cannot reach a local
            server through a DNS name of its own.
        token: the token that `Authorization: Bearer` must contain; None for no token.
        gauges: where requests are counted.
        most: maximum number of requests at a time; above it, the answer is 503.
    """

    def __init__(
        self, app: ASGIApp, hosts: Sequence[str], token: str | None, gauges: Gauges, most: int = REQUESTS
    ) -> None:
        self.app, self.hosts, self.token, self.gauges = app, {host.lower() for host in hosts}, token, gauges
        self.most, self._running = most, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request or pass it on, add the headers, and log route, status and time."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.monotonic(), 500

        async def send_safely(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        self._running += 1
        try:
            refusal = self._refusal(scope)
            await (refusal or self.app)(scope, receive, send_safely)
        finally:
            self._running -= 1
            found = scope.get("route")
            route = found.path if isinstance(found, Route | Mount) else "other"
            self.gauges.requests.labels(scope["method"] if route != "other" else "other", route, str(status)).inc()
            log.info("%s %s %d %.0f ms", scope["method"], route, status, 1000 * (time.monotonic() - began))

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        if self._running > self.most:
            message = "The server handles too many requests at the moment. Please try again later."
            return respond(503, Problem(code="busy", message=message, retry_after=5))
        headers = Headers(scope=scope)
        host = headers.get("host", "").lower()
        if "*" not in self.hosts and _name(host) not in self.hosts:
            message = "This server does not accept the host name in the Host header. Add the name with hosts=[...]."
            return respond(400, Problem(code="unknown_host", message=message))
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2].lower() != host:
            message = "Requests from pages of other websites are refused."
            return respond(403, Problem(code="foreign_origin", message=message))
        path = scope["path"]
        if self.token is None or path in OPEN or path.startswith(STATIC):
            return None
        if _same(headers.get("authorization", ""), f"Bearer {self.token}"):
            return None
        message = "A token is required: send it as Authorization: Bearer TOKEN."
        return respond(401, Problem(code="no_token", message=message), **{"WWW-Authenticate": "Bearer"})


def _name(host: str) -> str:
    """Return a Host header without its port."""
    return host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]


def _same(given: str, wanted: str) -> bool:
    """Compare in constant time, so that the time does not reveal how much of a token is correct."""
    return hmac.compare_digest(given.encode(), wanted.encode())


class Doorman:
    """ASGI middleware that reserves a place in the queue for each upload, and limits its size and duration.

    The body of a refused request is still read, within the bounds of `Body.drain`. Otherwise, a client that is still
    sending would get a broken connection instead of the answer.

    Args:
        app: the application.
        desk: the queue.
        path: path of the route for uploads.
    """

    def __init__(self, app: ASGIApp, desk: Desk, path: str) -> None:
        self.app, self.desk, self.path = app, desk, path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on if it is not an upload or if the queue has a place for it; else refuse it."""
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] != self.path:
            await self.app(scope, receive, send)
            return
        body = Body(receive, self.desk.limits.bytes + OVERHEAD, self.desk.limits.upload_time)
        try:
            with self.desk.place(client(scope)):
                scope[BODY] = body
                await self.app(scope, body.receive, send)
        except RefusedError as refusal:
            await body.drain()
            await respond(refusal.status, refusal.problem)(scope, receive, send)


class Body:
    """The body of an upload, with limits on its size in bytes and its duration in s."""

    def __init__(self, receive: Receive, most: int, seconds: float) -> None:
        self._receive, self._left, self._most = receive, most, most
        self._end = time.monotonic() + seconds
        self.over = False

    async def receive(self) -> Message:
        """Return the next part of the body.

        Raises:
            RefusedError: 413 if the body is too large, 408 if it takes too long.
        """
        if self.over:
            return await self._receive()  # waits until the client has gone
        try:
            message = await asyncio.wait_for(self._receive(), max(self._end - time.monotonic(), 0.001))
        except TimeoutError:
            raise RefusedError(408, Problem(code="upload_slow", message="The upload took too long.")) from None
        self._left -= len(message.get("body", b""))
        self.over = not message.get("more_body", False)
        if self._left < 0:
            text = f"The file is too large. Expected at most {(self._most - OVERHEAD) / 1e6:g} MB."
            raise RefusedError(413, Problem(code="too_large", message=text))
        return message

    async def drain(self) -> None:
        """Read and discard the rest of the body: at most the maximum size once more, and for at most 10 s."""
        self._left, self._end = self._most, min(self._end, time.monotonic() + 10)
        try:
            while not self.over:
                await self.receive()
        except RefusedError:
            return


def client(scope: Scope) -> str:
    """Return the IP address of the client, or `unknown` if the server does not know it."""
    return scope["client"][0] if scope.get("client") else "unknown"
