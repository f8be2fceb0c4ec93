"""Whether the files of some folders have changed, by what the file system says of them; none is read."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from embedding_assets.documents.collections import LocalRoot
from embedding_assets.documents.configured import is_elsewhere, is_there
from embedding_assets.documents.formats.reading import is_readable
from embedding_assets.documents.rejection import Rejection
from embedding_assets.documents.walking import WalkCounts, walk
from embedding_assets.formatting import visible
from embedding_assets.postgres.documents import Collection

if TYPE_CHECKING:
    from embedding_assets.documents.ignoring import Choice


@dataclass(frozen=True, slots=True)
class Appearance:
    """How some folders look.

    Attributes:
        digest: of the names, sizes and times of their files: another one once a file has changed.
        files: how many there are.
        missing: paths that are not there.
    """

    digest: str
    files: int
    missing: tuple[str, ...]


def look_at(paths: Sequence[str], choice: Choice, *, seconds: float) -> Appearance | None:
    """How folders and files look now; None if that cannot be found out in time.

    Of what is not on this machine only the hour is taken, so that it looks another way once an hour.

    Args:
        paths: of the folders and files.
        choice: which files of the folders count.
        seconds: longest time to look.
    """
    digest = hashlib.sha256()
    until = time.monotonic() + seconds

    def is_wanted(path: Path) -> bool:
        if time.monotonic() > until:
            raise TimeoutError
        return is_readable(path)

    counts = WalkCounts()
    missing = []
    files = 0
    try:
        for path in paths:
            if is_elsewhere(path):
                digest.update(f"{path}\0{int(time.time()) // 3600}\0".encode())
            elif not is_there(path):
                missing.append(visible(path))
                digest.update(f"{path}\0gone\0".encode("utf-8", "surrogateescape"))
            else:
                for line in _lines(path, choice, is_wanted, counts):
                    files += 1
                    digest.update(line.encode("utf-8", "surrogateescape"))
    except TimeoutError:
        return None
    return Appearance(digest.hexdigest(), files, tuple(missing))


def _lines(path: str, choice: Choice, is_wanted: Callable[[Path], bool], counts: WalkCounts) -> Iterator[str]:
    place = Path(path).expanduser().absolute()
    # What it is called in the table does not matter here.
    root = LocalRoot(place, Collection(path, path, is_folder=True), path, place.is_dir())
    for found in walk(root, choice, is_wanted, counts):
        if isinstance(found, Rejection):
            yield f"{found}\0"
            continue
        try:
            status = found.path.stat()
        except OSError as error:
            yield f"{found.origin}\0{error.strerror}\0"
        else:
            yield f"{found.origin}\0{status.st_size}\0{status.st_mtime_ns}\0"
