"""Tables in Markdown, as metadata that Dagster's UI sets as wide as its page; a long one it keeps behind a link."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Cell = str | int | float | None


def measures_table(measures: Mapping[str, Cell]) -> str:
    """A row for each measure that has a value."""
    known = {name: value for name, value in measures.items() if value is not None}
    return markdown_table([{"measure": name, "value": value} for name, value in known.items()])


def markdown_table(rows: Sequence[Mapping[str, Cell]]) -> str:
    """Rows with the columns of the first, of which there must be one."""
    lines = [[*rows[0]], ["---"] * len(rows[0]), *([_shown(cell) for cell in row.values()] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _shown(cell: Cell) -> str:
    return f"{cell:,}" if isinstance(cell, int | float) else str(cell).replace("|", "\\|")
