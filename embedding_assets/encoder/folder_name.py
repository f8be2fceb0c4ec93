"""What a model in a folder is called."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

_TELLS_NOTHING: Final = re.compile(
    r"model|models|snapshots?|best|best[_-]model|final|final[_-]model|latest|output|export|weights|hub|[0-9a-f]{32,64}",
    re.IGNORECASE,
)
_IN_CACHE: Final = re.compile(r"models--(.+?)--(.+)")
"""A repository's folder in the cache of huggingface_hub."""


def folder_name(folder: str | Path) -> str:
    """The last part of a folder's path that tells something: what tools call their output is passed over.

    Of a snapshot in the hub's cache that is the repository's name.
    """
    path = Path(folder).expanduser().resolve()
    for part in (path, *path.parents):
        if part.name and not _TELLS_NOTHING.fullmatch(part.name):
            in_cache = _IN_CACHE.fullmatch(part.name)
            return f"{in_cache[1]}/{in_cache[2]}" if in_cache else part.name
    return path.name
