"""What the folders above a file say of its rows, as in ``year=2024/month=05/part.parquet``."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

_FOLDER: Final = re.compile(r"([A-Za-z_][\w.-]{0,99})=([^=]+)")
_NUMBER: Final = re.compile(r"\d{1,18}", re.ASCII)
_NULL: Final = "__HIVE_DEFAULT_PARTITION__"


@lru_cache(maxsize=256)
def partition_fields(source: str) -> dict[str, str | int]:
    """Fields and values of the folders that are called ``key=value``.

    Args:
        source: the path of a file.
    """
    fields: dict[str, str | int] = {}
    if "=" in source:
        for folder in source.split("/")[:-1]:
            found = _FOLDER.fullmatch(folder)
            if found is not None and found[2] != _NULL:
                # Hive writes what no folder may be called, as a colon, like a browser would.
                fields[found[1]] = int(found[2]) if _NUMBER.fullmatch(found[2]) else unquote(found[2])
    return fields
