"""Tables of HTML: the columns that cells stand in, and those that only place code beside its line numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from embedding_assets.documents.formats.html_noise import remove

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode

_MOST_REPEATED: Final = 1_000_000
"""Characters that cells over several rows and columns may add to a table."""
_NUMBERED: Final = ("lineno", "gutter", "blob-num", "hljs-ln", "line-number")
_NUMBERED_BY_CHROMA: Final = re.compile(r"class=[\"']?lnt?\b")
_NUMBERS: Final = ", ".join(
    [".linenodiv", *(f"pre .{name}" for name in ("linenos", "lineno", "line-number", "lnt", "ln"))]
)
"""Where programs that colour code write the numbers of its lines."""
_CELLS: Final = ", ".join(
    f"td.{name}"
    for name in (
        "linenos",
        "lineno",
        "gutter",
        "rouge-gutter",
        "blob-num",
        "hljs-ln-numbers",
        "line-number",
        "line-numbers",
    )
)
"""Cells in which they do; in other tables those of that class are cells as others are."""
_DIGITS: Final = re.compile(r"[\d\s]*")
_LINE_OF_CODE: Final = re.compile(r"(?:^|\s)(?:blob-code|hljs-ln-code)\b")


def without_line_numbers(tree: LexborHTMLParser, html: str) -> None:
    """Take the numbers of lines of code out of a page."""
    # Far faster than an expression with all of them.
    lowered = html.lower()
    if any(name in lowered for name in _NUMBERED) or _NUMBERED_BY_CHROMA.search(lowered):
        _remove(tree.css(_NUMBERS))
        _remove(_beside_code(tree.css(_CELLS)))


def _remove(nodes: Sequence[LexborNode]) -> None:
    """Take out those with nothing but a number."""
    remove([node for node in nodes if _DIGITS.fullmatch(node.text())])


def _beside_code(cells: Sequence[LexborNode]) -> list[LexborNode]:
    """Those in whose row another cell has code."""
    numbers = {cell.mem_id for cell in cells}
    rows = {cell.parent.mem_id: cell.parent for cell in cells if cell.parent is not None}
    of_code = {
        place for place, row in rows.items() if any(_has_code(at) for at in row.iter() if at.mem_id not in numbers)
    }
    return [cell for cell in cells if cell.parent is not None and cell.parent.mem_id in of_code]


def _has_code(cell: LexborNode) -> bool:
    # What an invoice calls code is none, and where programs call it so, it is in such an element.
    return is_line_of_code(cell) or cell.css_first("pre, code") is not None


def rows_of(table: LexborNode) -> list[list[LexborNode]]:
    """The cells of each row; not those of tables inside."""
    rows = [row for part in table.iter() for row in _rows(part)]
    return [[cell for cell in row.iter() if cell.tag in {"td", "th"}] for row in rows]


def _rows(part: LexborNode) -> list[LexborNode]:
    """The rows in a child of a table, which may be one itself."""
    if part.tag in {"thead", "tbody", "tfoot"}:
        return [row for row in part.iter() if row.tag == "tr"]
    return [part] if part.tag == "tr" else []


def is_line_of_code(cell: LexborNode) -> bool:
    """Whether it is a line in a table that shows a file."""
    return _LINE_OF_CODE.search(cell.attributes.get("class") or "") is not None


def in_columns(cells: Sequence[Sequence[LexborNode]], texts: Sequence[Sequence[str]]) -> list[list[str]]:
    """The texts of each row, one for each column: that of a cell over several of them in each.

    One over all of its row is there once; it heads the rows below.

    Args:
        cells: those of each row.
        texts: what they say.
    """
    most = max(map(len, cells), default=0)
    left = _MOST_REPEATED
    above: dict[int, tuple[int, str]] = {}
    written: list[list[str]] = []
    for number, (row, said) in enumerate(zip(cells, texts, strict=True)):
        line: list[str] = []
        below = {at: (count - 1, text) for at, (count, text) in above.items() if count > 1}
        for cell, text in zip(row, said, strict=True):
            while len(line) in above:
                line.append(above[len(line)][1])
            # No table has more columns than cells somewhere.
            columns, count = min(_span(cell, "colspan"), most), min(_span(cell, "rowspan"), len(cells) - number)
            left -= (len(text) + 3) * (columns * count - 1)
            if left < 0:
                columns = count = 1
            repeated = text if len(row) > 1 else ""
            if count > 1:
                below |= {len(line) + at: (count - 1, repeated) for at in range(columns)}
            line += [text, *[repeated] * (columns - 1)]
        while len(line) in above:
            line.append(above[len(line)][1])
        above = below
        written.append(line)
    return written


def _span(cell: LexborNode, name: str) -> int:
    value = (cell.attributes.get(name) or "").strip()
    # Zero are all rows that are left.
    count = int(value) if value.isascii() and value.isdecimal() and len(value) < 6 else 1
    return count or (65_534 if name == "rowspan" else 1)
