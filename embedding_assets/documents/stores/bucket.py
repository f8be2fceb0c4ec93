"""A bucket of an object store, by obstore."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, S3Store

from embedding_assets.documents.stores.failures import failure
from embedding_assets.documents.stores.loop import next_of
from embedding_assets.documents.stores.store import StoredObject, StoreError, Target
from embedding_assets.errors import DocumentError

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ClientConfig, RetryConfig

    from embedding_assets.documents.stores.address import Address

_CONNECT_SECONDS: Final = 10
_SILENT_SECONDS: Final = 20
_RETRY_SECONDS: Final = 30
_ANSWER_SECONDS: Final = 75.0
"""Longest time for an answer, or a piece of one, with all attempts of the client."""

_LONGEST_SECONDS: Final = 3600.0
"""For one object: what comes so slowly is given up."""

_PAGE_OBJECTS: Final = 1_000
_PIECE_BYTES: Final = 1 << 20


def open_bucket(address: Address, *, allow_http: bool) -> Bucket:
    """The bucket of an address, with the settings and credentials of the environment.

    Raises:
        DocumentError: they are incomplete, or contradict each other.
    """
    client: ClientConfig = {
        "allow_http": allow_http,
        "connect_timeout": timedelta(seconds=_CONNECT_SECONDS),
        "read_timeout": timedelta(seconds=_SILENT_SECONDS),
        # The client's own limit is one for the whole of an answer, however large that is.
        "timeout": timedelta(seconds=_LONGEST_SECONDS),
        "user_agent": "embedding-assets",
    }
    retries: RetryConfig = {
        "max_retries": 5,
        "retry_timeout": timedelta(seconds=_RETRY_SECONDS),
        "backoff": {
            "init_backoff": timedelta(milliseconds=200),
            "max_backoff": timedelta(seconds=5),
            "base": 2,
        },
    }
    kinds: dict[str, Any] = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}
    try:
        return Bucket(kinds[address.scheme](address.host, client_options=client, retry_config=retries), address.scheme)
    except (BaseError, ValueError) as error:
        raise DocumentError(f"{address} cannot be read: {failure(error, address.scheme).strerror}") from None


class Bucket:
    """Objects of a bucket; see ``Store``."""

    def __init__(self, store: S3Store | GCSStore | AzureStore, scheme: str) -> None:
        self._store = store
        self._scheme = scheme

    async def pages(self, folder: str) -> AsyncGenerator[Sequence[StoredObject], None]:
        """All objects in a folder and below it, some at a time; all of the bucket if it is empty."""
        listing = aiter(self._store.list(folder or None, chunk_size=_PAGE_OBJECTS))
        while True:
            async with self._asked(_ANSWER_SECONDS):
                page = await next_of(listing)
            if page is None:
                return
            yield [_stored(meta) for meta in page]

    async def look(self, path: str) -> StoredObject | None:
        """The object of that name, if there is one; it is not read."""
        async with self._asked(_ANSWER_SECONDS):
            try:
                return _stored(await self._store.head_async(path))
            except FileNotFoundError:
                return None

    async def read(self, path: str, target: Target) -> StoredObject:
        """Have ``target`` take all of an object, a piece at a time; returns which version that was."""
        async with self._asked(_LONGEST_SECONDS):
            async with asyncio.timeout(_ANSWER_SECONDS):
                answer = await self._store.get_async(path)
            version = _stored(answer.meta)
            pieces = aiter(answer.stream(min_chunk_size=_PIECE_BYTES))
            target.restart(version.size)
            size = 0
            while True:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    piece = await next_of(pieces)
                if piece is None:
                    break
                size += len(piece)
                target.write(bytes(piece))
        if size != version.size:
            raise StoreError("the store's answer was cut off", is_transient=True)
        return version

    @asynccontextmanager
    async def _asked(self, seconds: float) -> AsyncIterator[None]:
        """What goes wrong meanwhile is a ``StoreError``."""
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            raise StoreError("the store does not answer in time", is_transient=True) from None
        except StoreError:
            raise
        except (BaseError, FileNotFoundError, ValueError) as error:
            raise failure(error, self._scheme) from None


def _stored(meta: ObjectMeta) -> StoredObject:
    # Listings and answers quote it differently.
    version = (meta["e_tag"] or "").removeprefix("W/").strip('"') or meta["last_modified"].isoformat()
    return StoredObject(meta["path"], meta["size"], f"{version} {meta['size']}")
