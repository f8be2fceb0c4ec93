"""The folders of a store: all of its objects are listed before the first of them is read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import aclosing
from typing import Final

from embedding_assets.documents.ignoring import GITIGNORE, IgnoreFile, parsed_ignore_file
from embedding_assets.documents.stores.loop import run
from embedding_assets.documents.stores.root import StoreRoot
from embedding_assets.documents.stores.store import StoredObject, StoreError
from embedding_assets.documents.stores.stored_file import StoredFile
from embedding_assets.documents.tree import Entry

MOST_OBJECTS: Final = 1_000_000
"""Of one folder: they are all in memory at once."""

_MOST_RULES_BYTES: Final = 1_000_000

_NAMELESS: Final = (
    "the name of an object in there cannot be read: a part of it, between slashes, is empty; load the folders beside it"
)

_Folders = dict[str, dict[str, tuple[int | None, str | None] | None]]
"""Sizes and marks of objects by folder and name; None of a folder, whose name ends with a slash."""


class StoreTree:
    """The folder of a root, as its objects' names make it up; see ``Tree``. Listed once, at the latest when entered.

    Args:
        root: is given the origins of all objects.
    """

    def __init__(self, root: StoreRoot) -> None:
        self._root = root
        self._folders: _Folders = {}

    @property
    def top(self) -> str:
        """Path of the uppermost folder."""
        return ""

    def list(self, *, seconds: float | None = None) -> None:
        """Have the store list all of it.

        Raises:
            OSError: it could not do so to the end, which is a ``TimeoutError`` after ``seconds``.
        """
        run(self._list(), seconds)

    def entries(self, folder: str) -> Iterable[Entry]:
        """What is in a folder, in any order.

        Raises:
            OSError: the store could not be listed to its end.
        """
        if not self._folders:
            self.list()
        names = self._folders[folder]
        above = f"{folder}/" if folder else ""
        return [
            Entry(name.rstrip("/"), f"{above}{name}".rstrip("/"), found is None)
            for name, found in names.items()
            # One that stands for a folder, as consoles make them, is no file.
            if found is None or found[0] != 0 or f"{name}/" not in names
        ]

    def has(self, path: str) -> bool:
        """Whether there is a file at that path."""
        return self._found(path) is not None

    def ignore_files_above(self) -> Sequence[IgnoreFile]:
        """None: what is around it is not looked at."""
        return ()

    def ignore_file(self, folder: str) -> Sequence[IgnoreFile]:
        """The .gitignore in a folder.

        Raises:
            OSError: it is there, and cannot be had now.
        """
        found = self._found(f"{folder}/{GITIGNORE}" if folder else GITIGNORE)
        if found is None or (found.size or 0) > _MOST_RULES_BYTES:
            return ()
        rules = _Text()
        run(self._root.store.read(found.path, rules))
        return [parsed_ignore_file(folder, rules.data.decode("utf-8", "surrogateescape"))]

    def file(self, path: str, origin: str) -> StoredFile:
        """A file that is to be read, and what its document is called."""
        found = self._found(path)
        assert found is not None
        return StoredFile(self._root.store, found, origin)

    def _found(self, path: str) -> StoredObject | None:
        folder, _, name = path.rpartition("/")
        found = self._folders.get(folder, {}).get(name)
        top = self._root.address.path
        return None if found is None else StoredObject(f"{top}/{path}" if top else path, *found)

    async def _list(self) -> None:
        folders: _Folders = {"": {}}
        top = self._root.address.path
        count = 0
        async with aclosing(self._root.store.pages(top)) as pages:
            async for page in pages:
                count += len(page)
                if count > MOST_OBJECTS:
                    raise StoreError(f"holds more than {MOST_OBJECTS:,} objects; load the folders in it one by one")
                for found in page:
                    path = found.path[len(top) :].removeprefix("/")
                    if "" in path.split("/")[:-1]:
                        raise StoreError(_NAMELESS)
                    _put(folders, path, found)
        # Not before all of it is known: of half a listing everything else would seem to be gone.
        self._folders = folders
        for folder, names in folders.items():
            origin = f"{self._root.origin}/{folder}".rstrip("/")
            self._root.listed.update(hash(f"{origin}/{name}") for name, found in names.items() if found is not None)


def _put(folders: _Folders, path: str, found: StoredObject) -> None:
    """Put an object into the folder that its name says, and that folder into those above it."""
    folder, _, name = path.rpartition("/")
    if not name:
        return
    names = folders.setdefault(folder, {})
    is_new = not names
    names[name] = found.size, found.mark
    while is_new and folder:
        folder, _, name = folder.rpartition("/")
        names = folders.setdefault(folder, {})
        is_new = not names
        names[f"{name}/"] = None


class _Text:
    """Takes a small object into memory; see ``Target``."""

    def __init__(self) -> None:
        self.data = b""

    def restart(self, size: int | None) -> None:  # noqa: ARG002 (there is room for it)
        """Forget what was written."""
        self.data = b""

    def write(self, piece: bytes) -> None:
        """Add a piece."""
        self.data = (self.data + piece)[:_MOST_RULES_BYTES]
