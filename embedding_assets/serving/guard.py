"""The door: who may ask, how much may be sent, and what is logged of it."""

from __future__ import annotations

import hmac
import ipaddress
import logging
import time
import uuid
from collections.abc import Collection
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse

from embedding_assets.logs import correlate
from embedding_assets.serving.asked import MOST_BODY_BYTES
from embedding_assets.serving.problems import MEDIA_TYPE, Problem, problem_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from embedding_assets.serving.metrics import SearchMetrics

logger = logging.getLogger(__name__)

LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "[::1]")

OPEN_PATHS: Final = frozenset({"/", "/openapi.json", "/healthz", "/healthz/live"})
"""Which tell nothing of the table, and need no key."""

_HEADERS: Final = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
}


def is_loopback(address: str) -> bool:
    """True for an address that only this machine reaches."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


class Guard:
    """What every request passes first.

    Args:
        app: that answers.
        key: that requests bring; None: none is asked for.
        hosts: names that requests may be addressed to; empty: any.
        paths: of the app, for metrics and log; others are ``other``.
        metrics: counts requests.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        key: str | None,
        hosts: Collection[str],
        paths: Collection[str],
        metrics: SearchMetrics,
    ) -> None:
        self._app = app
        self._key = None if key is None else key.encode()
        self._hosts = frozenset(hosts)
        self._paths = frozenset(paths)
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = uuid.uuid4().hex[:12]
        status = 0

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update({**_HEADERS, "x-request-id": request_id})
            await send(message)

        with correlate(request_id):
            try:
                self._admit(scope)
                await self._app(scope, receive, send_on)
            except Exception as error:  # noqa: BLE001 (whatever it is, the client gets an answer and no traceback)
                if not status:
                    await respond(problem_of(error))(scope, receive, send_on)
            finally:
                self._note(scope, status, time.perf_counter() - started)

    def _admit(self, scope: Scope) -> None:
        """Let a request in.

        Raises:
            Problem: it may not come in.
        """
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._hosts and _name_of(host) not in self._hosts:
            raise Problem(
                HTTPStatus.MISDIRECTED_REQUEST,
                "the service is not known by that name; EMBEDDING_SERVE_HOSTS lists those it is known by",
            )
        self._check_origin(headers, host, scope["path"])
        if self._key is not None and scope["path"] not in OPEN_PATHS and not self._has_key(headers):
            raise Problem(
                HTTPStatus.UNAUTHORIZED,
                "the header `Authorization: Bearer KEY` is missing, or its key is another",
                headers={"WWW-Authenticate": "Bearer"},
            )
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > MOST_BODY_BYTES:
            raise too_large()

    def _check_origin(self, headers: Headers, host: str, path: str) -> None:
        """Keep pages of other sites from asking by way of a browser that may."""
        origin = headers.get("origin")
        foreign = origin is not None and origin.partition("://")[2] != host
        if foreign or (path not in OPEN_PATHS and headers.get("sec-fetch-site") in ("cross-site", "same-site")):
            raise Problem(HTTPStatus.FORBIDDEN, "pages of other sites may not ask here")

    def _has_key(self, headers: Headers) -> bool:
        given = headers.getlist("authorization")
        scheme, _, key = (given[0] if len(given) == 1 else "").partition(" ")
        right = hmac.compare_digest(key.strip().encode(), self._key or b"")
        return right and scheme.lower() == "bearer"

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        path = scope["path"] if scope["path"] in self._paths else "other"
        self._metrics.count_request(path, status)
        # The address of a search holds the question: it is left out.
        fields: dict[str, Any] = {"method": scope["method"], "path": path, "status": status}
        logger.info("%(method)s %(path)s %(status)d", fields, extra={**fields, "ms": round(seconds * 1000, 1)})


def respond(problem: Problem) -> JSONResponse:
    """The response that tells of a problem."""
    return JSONResponse(problem.document(), int(problem.status), problem.headers, media_type=MEDIA_TYPE)


def too_large() -> Problem:
    """The problem of a body that is."""
    return Problem(HTTPStatus(413), f"the body has more than {MOST_BODY_BYTES:,} bytes")


def _name_of(host: str) -> str:
    """The name in a ``Host`` header, without its port."""
    name, _, port = host.rpartition(":")
    return (name if name and port.isdecimal() else host).lower()
