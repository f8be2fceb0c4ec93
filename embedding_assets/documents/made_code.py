"""Source code that no person wrote, known by what it holds: minified, or made by a generator that says so."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from embedding_assets.documents.formats.opened import without_data
from embedding_assets.documents.formats.registry import format_of

if TYPE_CHECKING:
    from pathlib import Path

_LOOKED_AT_BYTES: Final = 65_536
_HEAD_CHARACTERS: Final = 2_000

_LONG_LINE: Final = 400
_FEWEST_LONG: Final = 2_000
"""Characters in long lines; a command of a single one is not minified."""

_COMMENT: Final = r"^[ \t]*(?://|#|/?\*+|\"\"\"|--|;)[^\n]{0,200}"
_GENERATED: Final = re.compile(
    rf"{_COMMENT}(?:generated\b.{{0,200}}\bdo not (?:edit|modify)|\bdo not (?:edit|modify)\b.{{0,200}}generated\b"
    r"|@generated\b)",
    re.IGNORECASE | re.MULTILINE | re.DOTALL,
)


def kind_of_code(path: Path) -> str | None:
    """What a source file is that no person wrote, in the plural; None for any other file.

    Raises:
        OSError: it cannot be read.
    """
    kind = format_of(path)
    if kind is None or kind.module != "source_code" or path.suffix.lower() == ".gz":
        return None
    with path.open("rb") as stream:
        text = without_data(stream.read(_LOOKED_AT_BYTES).decode("utf-8", "replace"))
    if _GENERATED.search(text, 0, _HEAD_CHARACTERS):
        return "generated code"
    long = sum(len(line) for line in text.splitlines() if len(line) > _LONG_LINE)
    return "minified code" if long >= _FEWEST_LONG and 2 * long > len(text) else None
