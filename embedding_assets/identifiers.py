"""Names of tables and columns as SQL writes them: the only place that takes their quotes off."""

from __future__ import annotations

import re
import string
from typing import Final

_PART: Final = re.compile(r'"(?:[^"]|"")+"|[^".\s]+')
_TO_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def unquoted(name: str) -> str:
    """A name without its quotes, if it has some; else as it is.

    For what names a column exactly, quoted or not: PostgreSQL's own definitions, and lists of columns.
    """
    return name[1:-1].replace('""', '"') if len(name) > 1 and name[0] == name[-1] == '"' else name


def parts_of(relation: str) -> list[str]:
    """The names that a table is called by as in SQL, where those without quotes are in lower case.

    Args:
        relation: with its schema or without, e.g. ``shop."Notes"``, which is ``["shop", "Notes"]``.
    """
    # As PostgreSQL does in UTF-8: other letters than these are left as they are.
    return [unquoted(part) if part[0] == '"' else part.translate(_TO_LOWER) for part in _PART.findall(relation)]
