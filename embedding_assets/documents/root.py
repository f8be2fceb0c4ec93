"""What is to be loaded: a folder or file, here or elsewhere, and what its documents are called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from embedding_assets.postgres.documents import Collection


class Root(Protocol):
    """A folder or file to load, wherever it is; as text, its place."""

    @property
    def collection(self) -> Collection:
        """What it belongs to."""
        ...

    @property
    def origin(self) -> str:
        """Its own name: the collection's, or that with the path below the collection's folder."""
        ...

    @property
    def is_folder(self) -> bool:
        """Whether it is one, or something that holds many files as a folder does."""
        ...

    def holds(self, origin: str) -> bool:
        """Whether the file of a document below it is there, loaded or left out."""
        ...

    def surrounds(self, place: str) -> bool:
        """Whether the folder of a collection, as it is recorded, is in it."""
        ...
