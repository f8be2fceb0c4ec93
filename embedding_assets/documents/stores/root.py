"""What is to be loaded from a store, and what its documents are called."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from embedding_assets.documents.naming import name_root
from embedding_assets.documents.stores.address import Address, parsed
from embedding_assets.documents.stores.loop import next_of, run
from embedding_assets.documents.stores.opening import open_store
from embedding_assets.documents.stores.store import Store, StoredObject, StoreError
from embedding_assets.errors import DocumentError

if TYPE_CHECKING:
    from embedding_assets.postgres.documents import Collection


@dataclass(frozen=True, slots=True)
class StoreRoot:
    """A folder of a bucket, or a file elsewhere, to load.

    Attributes:
        address: where it is.
        collection: what it belongs to.
        origin: its own name: the collection's, or that with the path below the collection's folder.
        store: what has it.
        file: of a file: the version that was there; None of a folder.
        listed: hashes of the origins of all objects in a folder, once it was listed.
    """

    address: Address
    collection: Collection
    origin: str
    store: Store = field(compare=False)
    file: StoredObject | None = field(compare=False)
    listed: set[int] = field(default_factory=set, compare=False)

    def __str__(self) -> str:
        return str(self.address)

    @property
    def is_folder(self) -> bool:
        """Whether it may hold many files."""
        return self.file is None

    def holds(self, origin: str) -> bool:
        """Whether the object of a document below it is there, loaded or left out."""
        return hash(origin) in self.listed

    def surrounds(self, place: str) -> bool:
        """Whether the folder of a collection is in it."""
        return self.is_folder and f"{place}/".startswith(f"{self.address.folder(self.address.path)}/")


def store_root(given: str, known: Sequence[Collection], wanted: str | None) -> StoreRoot:
    """What a URL leads to; the store is asked whether that is a file or a folder. See ``name_root``.

    Raises:
        DocumentError: it is no URL, leads to nothing, or the store cannot be asked.
    """
    address = parsed(given)
    store = open_store(address)
    try:
        file = file_at(address, store)
    except StoreError as error:
        raise DocumentError(f"{address} cannot be read: {error.strerror}") from None
    base, _, name = (address.path, "", None) if file is None else address.path.rpartition("/")
    folder = address.folder(base)
    default = base.rpartition("/")[2] or address.host
    collection, origin = name_root(
        folder,
        name,
        shown=str(address),
        default=default,
        known=known,
        wanted=wanted,
        below=lambda one: _path_below(one, folder),
    )
    return StoreRoot(address, collection, origin, store, file)


def file_at(address: Address, store: Store, *, seconds: float | None = None) -> StoredObject | None:
    """The file that is there; None if it is a folder.

    Raises:
        StoreError: there is neither, or the store cannot be asked.
        TimeoutError: that takes longer than ``seconds``.
    """
    return run(_file_at(address, store), seconds)


async def _file_at(address: Address, store: Store) -> StoredObject | None:
    missing = StoreError(f"there is no such file{'' if address.is_web else ' or folder'}", is_missing=True)
    if not address.is_folder:
        try:
            found = await store.look(address.path)
        except StoreError as error:
            # One who may list but this folder is refused where there is no file.
            if address.is_web or error.is_transient:
                raise
            found, missing = None, error
        if found is not None:
            return found
    if address.is_web:
        raise missing
    async with aclosing(store.pages(address.path)) as pages:
        first = await next_of(pages)
    if not first and address.path:
        raise missing
    return None


def _path_below(collection: Collection, folder: str) -> str | None:
    """The path from a collection's folder to another one, empty if it is that; None if it is not in there."""
    if folder == collection.root:
        return ""
    if collection.is_folder and folder.startswith(f"{collection.root}/"):
        return folder[len(collection.root) + 1 :]
    return None
