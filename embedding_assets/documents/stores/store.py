"""What loads need of an object store or a web server."""

from __future__ import annotations

import errno
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StoredObject:
    """A version of an object.

    Attributes:
        path: in its store.
        size: in bytes; None where that is not known before it is read.
        mark: another one once the object's bytes are; None where the store has nothing of the kind.
    """

    path: str
    size: int | None
    mark: str | None


class StoreError(OSError):
    """A store did not give what it was asked for; ``strerror`` says why, in words that follow "cannot be read:".

    Args:
        reason: without secrets, and without anything that the store itself has said.
        is_transient: whether it may pass by itself.
        is_missing: whether what was asked for is not there.
    """

    def __init__(self, reason: str, *, is_transient: bool = False, is_missing: bool = False) -> None:
        super().__init__(errno.EIO, reason)
        self.is_transient = is_transient
        self.is_missing = is_missing


class Target(Protocol):
    """What takes the bytes of an object; it raises ``OSError`` where there is no room for them."""

    def restart(self, size: int | None) -> None:
        """Forget what was written: all of it comes now, of this size if that is known."""
        ...

    def write(self, piece: bytes) -> None:
        """Add a piece."""
        ...


class Store(Protocol):
    """Objects of one bucket, or files of one server. All of it runs on one event loop, and may be cancelled.

    What cannot be had raises ``StoreError``.
    """

    def pages(self, folder: str) -> AsyncGenerator[Sequence[StoredObject], None]:
        """All objects in a folder and below it, some at a time; all of the bucket if it is empty."""
        ...

    async def look(self, path: str) -> StoredObject | None:
        """The object of that name, if there is one; it is not read."""
        ...

    async def read(self, path: str, target: Target) -> StoredObject:
        """Have ``target`` take all of an object, a piece at a time; returns which version that was."""
        ...
