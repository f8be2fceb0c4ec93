"""Names of tables as SQL writes them, taken apart for Dagster."""

from __future__ import annotations

import re
from typing import Final

_PART: Final = re.compile(r'"(?:[^"]|"")+"|[^".\s]+')


def parts_of_name(relation: str) -> list[str]:
    """The identifiers of a name such as ``shop."Notes"``, as they are written."""
    return _PART.findall(relation)


def unquoted(identifier: str) -> str:
    """The name that an identifier stands for."""
    return identifier[1:-1].replace('""', '"') if identifier.startswith('"') else identifier.lower()


def as_part_of_key(identifier: str) -> str:
    """An identifier as part of an asset's key."""
    return re.sub(r"\W", "_", identifier.strip('"'))
