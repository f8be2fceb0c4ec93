"""Standard input as a file to load."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

from embedding_assets.documents.collections import LocalRoot
from embedding_assets.documents.formats.reading import is_readable
from embedding_assets.documents.formats.registry import format_named
from embedding_assets.documents.naming import name_root
from embedding_assets.documents.temporary_file import TemporaryFile, kept_suffix
from embedding_assets.documents.temporary_folder import TemporaryFolder
from embedding_assets.errors import DocumentError
from embedding_assets.formatting import visible

if TYPE_CHECKING:
    from embedding_assets.documents.formats.options import ReadOptions
    from embedding_assets.postgres.documents import Collection

PLACE: Final = "stdin://"
"""The folder of collections that came from there."""

_NAME: Final = "stdin"
_MOST_NAME_BYTES: Final = 1_000
_PIECE_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class SpooledInput:
    """A copy of all of standard input.

    Attributes:
        path: where it lies.
        name: what it is called in its collection.
    """

    path: Path
    name: str

    def root(self, known: Sequence[Collection], wanted: str | None) -> LocalRoot:
        """What is to be loaded; see ``name_root``.

        Raises:
            DocumentError: the collection is one of a folder, where it would seem to be gone at the next load.
        """
        collection = wanted or _NAME
        other = next((one.root for one in known if one.name == collection and one.root != PLACE), None)
        if other is not None:
            raise DocumentError(
                f"the collection {visible(collection)} was loaded from {visible(other)}; name another one for standard "
                "input with --collection"
            )
        named, origin = name_root(
            PLACE,
            self.name,
            shown="standard input",
            default=_NAME,
            known=known,
            wanted=wanted,
            below=lambda one: "" if one.root == PLACE else None,
        )
        return LocalRoot(self.path, named, origin, is_folder=False)


@contextmanager
def spooled_input(stream: TextIO, name: str | None, read: ReadOptions) -> Iterator[SpooledInput]:
    """A copy of standard input, which is removed with the context.

    Args:
        stream: standard input.
        name: what it is called in its collection; None takes one that ends as its format does.
        read: how it is read.

    Raises:
        DocumentError: neither name nor format says what it is, the name is none, there is no room for it, or it is
            empty, as where the program before it has failed.
    """
    name = _checked(name, read)
    folder = TemporaryFolder()
    try:
        path = folder.path / f"input{kept_suffix(name)}"
        try:
            with TemporaryFile(path) as target:
                while piece := stream.buffer.read(_PIECE_BYTES):
                    target.write(piece)
        except OSError as error:
            raise DocumentError(f"standard input cannot be read: {error.strerror}") from None
        if not path.stat().st_size:
            raise DocumentError("standard input is empty; nothing was changed")
        yield SpooledInput(path, name)
    finally:
        folder.remove()


def _checked(name: str | None, read: ReadOptions) -> str:
    kind = format_named(read.format) if read.format else None
    if name is None:
        name = f"{_NAME}{kind.suffixes[0] if kind else ''}"
    parts = name.split("/")
    if visible(name) != name or not all(part.strip(". ") for part in parts) or len(name.encode()) > _MOST_NAME_BYTES:
        raise DocumentError(f"--name: {visible(name)!r} is no name; it is a path in a collection, as in guide.md")
    if kind is None and not is_readable(parts[-1]):
        raise DocumentError(
            "say what standard input holds: --format, as in --format jsonl (`embedding-assets formats` lists them), or "
            "a --name that ends as such files do"
        )
    return name
