"""A file of a web server.

By an ordinary client and not by that of the object stores, which can neither ask with a query nor read an answer whose
length is not given beforehand.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from functools import cache
from typing import TYPE_CHECKING, Final, ParamSpec

import tenacity

from embedding_assets.documents.stores.loop import next_of
from embedding_assets.documents.stores.store import StoredObject, StoreError, Target

if TYPE_CHECKING:
    import httpx2

    from embedding_assets.documents.stores.address import Address

P = ParamSpec("P")

_CONNECT_SECONDS: Final = 10.0
_SILENT_SECONDS: Final = 20.0
_PIECE_SECONDS: Final = 60.0
_PIECE_BYTES: Final = 1 << 20
_LONGEST_SECONDS: Final = 3600.0
_ATTEMPTS: Final = 4
_RETRY_SECONDS: Final = 30.0
_REDIRECTS: Final = 5

_COARSE_SECONDS: Final = 2
"""Within that a file may have changed twice at the same time, as far as its server says when."""

_NO_HEAD: Final = frozenset({400, 403, 405, 501})
"""How servers answer that have no answer to HEAD, or have signed the URL for GET alone."""


class WebFile:
    """The file of an address; see ``Store``."""

    def __init__(self, address: Address) -> None:
        self._path = address.path
        self._url = address.url
        self._is_http = address.scheme == "http"

    async def pages(self, folder: str) -> AsyncGenerator[Sequence[StoredObject], None]:  # noqa: ARG002
        """Nothing: a web server lists no files."""
        none: tuple[Sequence[StoredObject], ...] = ()
        for page in none:
            yield page

    async def look(self, path: str) -> StoredObject | None:
        """The file, if it is there; it is not read."""
        try:
            return await _again(self._look, path)
        except StoreError as error:
            if error.is_missing:
                return None
            raise

    async def read(self, path: str, target: Target) -> StoredObject:
        """Have ``target`` take all of the file, a piece at a time; returns which version that was."""
        return await _again(self._read, path, target)

    async def _look(self, path: str) -> StoredObject:
        async with _answers(), self._client() as client:
            async with asyncio.timeout(_PIECE_SECONDS), self._asked(client, "HEAD") as answer:
                if answer.status_code not in _NO_HEAD:
                    _check(answer.status_code)
                    return _version(path, answer.headers)
            async with asyncio.timeout(_PIECE_SECONDS), self._asked(client, "GET") as answer:
                _check(answer.status_code)
                return _version(path, answer.headers)

    async def _read(self, path: str, target: Target) -> StoredObject:
        async with (
            _answers(),
            asyncio.timeout(_LONGEST_SECONDS),
            self._client() as client,
            self._asked(client, "GET") as answer,
        ):
            _check(answer.status_code)
            version = _version(path, answer.headers)
            target.restart(version.size)
            # A file that is packed by its name stays so; where a server calls that its encoding, too.
            is_packed = path.lower().endswith(".gz")
            pieces = answer.aiter_raw(_PIECE_BYTES) if is_packed else answer.aiter_bytes(_PIECE_BYTES)
            while True:
                async with asyncio.timeout(_PIECE_SECONDS):
                    piece = await next_of(pieces)
                if piece is None:
                    return version
                target.write(piece)

    def _client(self) -> httpx2.AsyncClient:
        import httpx2

        timeout = httpx2.Timeout(_SILENT_SECONDS, connect=_CONNECT_SECONDS)
        return httpx2.AsyncClient(timeout=timeout, verify=_certificates())

    @asynccontextmanager
    async def _asked(self, client: httpx2.AsyncClient, method: str) -> AsyncIterator[httpx2.Response]:
        """The answer, without its body, of where redirections lead."""
        headers = {"User-Agent": "embedding-assets", "Accept-Encoding": "identity"}
        request = client.build_request(method, self._url, headers=headers)
        for _ in range(_REDIRECTS + 1):
            answer = await client.send(request, stream=True)
            try:
                if answer.next_request is None:
                    yield answer
                    return
                request = answer.next_request
                if request.url.scheme != "https" and not self._is_http:
                    raise StoreError("the server redirects to an address without encryption")
            finally:
                await answer.aclose()
        raise StoreError("the server redirects again and again")


async def _again(work: Callable[P, Awaitable[StoredObject]], *arguments: P.args, **named: P.kwargs) -> StoredObject:
    """What ``work`` returns, tried again where its error may pass."""
    retrying = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception(lambda error: isinstance(error, StoreError) and error.is_transient),
        stop=tenacity.stop_after_attempt(_ATTEMPTS) | tenacity.stop_after_delay(_RETRY_SECONDS),
        wait=tenacity.wait_exponential(multiplier=0.2, max=5),
        reraise=True,
    )
    return await retrying(work, *arguments, **named)


@asynccontextmanager
async def _answers() -> AsyncIterator[None]:
    """What goes wrong meanwhile is a ``StoreError``; the client's own words may quote the URL."""
    import httpx2

    try:
        yield
    except (TimeoutError, httpx2.TimeoutException):
        raise StoreError("the server does not answer in time", is_transient=True) from None
    except httpx2.RemoteProtocolError:
        raise StoreError("the server's answer was cut off", is_transient=True) from None
    except httpx2.TransportError as error:
        if "CERTIFICATE" in str(error).upper() or "SSL" in str(error).upper():
            raise StoreError("the server's TLS certificate is not one that is trusted here") from None
        raise StoreError("the server cannot be reached; check the URL and the network", is_transient=True) from None
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
        raise StoreError(f"the server cannot be asked ({type(error).__name__}); check the URL") from None


def _check(status: int) -> None:
    """Make sure that an answer is the file."""
    if status == 200:
        return
    if status in (404, 410):
        raise StoreError("there is no such file", is_missing=True)
    if status in (401, 403):
        raise StoreError(f"access is denied (HTTP {status})")
    if status == 429 or status >= 500:
        raise StoreError(f"the server goes on failing (HTTP {status}); try again later", is_transient=True)
    raise StoreError(f"the server does not give it (HTTP {status})")


def _version(path: str, headers: httpx2.Headers) -> StoredObject:
    length = headers.get("Content-Length", "")
    size = int(length) if length.isdecimal() else None
    tag = headers.get("ETag", "").removeprefix("W/").strip('"')
    return StoredObject(path, size, tag or _time_mark(headers, size))


def _time_mark(headers: httpx2.Headers, size: int | None) -> str | None:
    """When a file was changed, and its size, where that says enough."""
    try:
        changed = parsedate_to_datetime(headers["Last-Modified"])
        now = parsedate_to_datetime(headers["Date"])
        is_old = (now - changed).total_seconds() > _COARSE_SECONDS
    except (KeyError, ValueError, TypeError):
        return None
    return f"{changed.isoformat()} {size}" if is_old and size is not None else None


@cache
def _certificates() -> ssl.SSLContext:
    """The client's own default, but made once: to read the certificates takes longer than to fetch a small file."""
    from httpx2 import create_ssl_context

    return create_ssl_context()
