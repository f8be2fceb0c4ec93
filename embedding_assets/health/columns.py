"""The check of an adopted table's columns: what it has, against what is known of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from embedding_assets.health import checks

if TYPE_CHECKING:
    from embedding_assets.health.verdict import Verdict
    from embedding_assets.postgres.table import Table
    from embedding_assets.postgres.table_columns import DescribedColumn
    from embedding_assets.spaces import SpaceColumn

_LENGTH: Final = re.compile(r"\([\d,]+\)")


@dataclass(frozen=True, slots=True)
class ColumnChanges:
    """What became of columns since the table was adopted.

    Attributes:
        gone: what each is that is not there any more, in words.
        changed: what each is that has another type, in words.
    """

    gone: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()


def find_column_changes(
    table: Table, columns: Sequence[DescribedColumn], spaces: Sequence[SpaceColumn]
) -> ColumnChanges:
    """The columns that are needed, and are not there or not as they were.

    Args:
        table: as it was adopted.
        columns: those it has now.
        spaces: whose vectors it holds.
    """
    now = {column.name: column.type for column in columns}
    wanted = {
        **{column.name: ("part of the key", column.type) for column in table.key},
        **dict.fromkeys(sorted(table.names), ("of which the text is made", None)),
        **{column.name: ("shown by searches", column.type) for column in table.metadata},
        **{space.name: ("with vectors", f"{space.storage}({space.space.dimensions})") for space in spaces},
    }
    gone = [f"column {name}, {what}, is gone" for name, (what, _) in wanted.items() if name not in now]
    changed = [
        f"column {name}, {what}, was {before} and is {now[name]}"
        for name, (what, before) in wanted.items()
        if name in now and before is not None and not _is_same_type(now[name], before)
    ]
    return ColumnChanges(tuple(gone), tuple(changed))


def columns_unchanged(table: Table, changes: ColumnChanges) -> Verdict:
    """The table still has the columns that it was adopted with."""
    faults = [*changes.gone, *changes.changed]
    return checks.COLUMNS_UNCHANGED.verdict(
        not faults,
        f"{table}: {'; '.join(faults)}" if faults else f"{table} has the columns that are needed, of the same types",
        {"gone": len(changes.gone), "changed": len(changes.changed)},
    )


def _is_same_type(now: str, before: str) -> bool:
    """Without lengths, which are not recorded, but of vectors; a type may stand in a schema."""
    now, before = now.rpartition(".")[2], before.rpartition(".")[2]
    if before.startswith(("vector(", "halfvec(")):
        # One that was there before the table was adopted may be without a length of its own.
        return now in (before, before.partition("(")[0])
    return _LENGTH.sub("", now) == _LENGTH.sub("", before)
