"""The rows among which is searched, and how PostgreSQL comes to them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from psycopg import sql

if TYPE_CHECKING:
    from embedding_assets.postgres.conditions import Clause
    from embedding_assets.postgres.search.facts import Facts
    from embedding_assets.postgres.table import Table
    from embedding_assets.spaces import SpaceColumn

_FEWEST: Final = 500
_MOST: Final = 5000
"""Rows whose exact distances are computed at most, about 10 µs each where vectors lie out of line."""

SPLIT_ROWS: Final = 500
"""Texts that are split for a question rather than looked up in the index of words, about 0.1 ms each."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What must hold of a row to be found.

    Where PostgreSQL finds the rows that a filter leaves by an index, they are looked up first, up to a few: then their
    distances are computed, and their texts split, one by one. An index of vectors would have to be scanned for long.

    Attributes:
        table: in which is searched.
        clauses: the filter.
        missing_in: another space that must have no vector of the row.
        few: rows up to which they are looked up first; 0: never.
    """

    table: Table
    clauses: tuple[Clause, ...]
    missing_in: SpaceColumn | None
    few: int

    @property
    def condition(self) -> sql.Composed:
        """True of rows ``k`` among which is searched."""
        conditions: list[sql.Composable] = [self.table.condition, *(clause.sql for clause in self.clauses)]
        if self.missing_in is not None:
            conditions.append(sql.SQL("k.{} IS NULL").format(sql.Identifier(self.missing_in.name)))
        return sql.SQL(" AND ").join(conditions)

    @property
    def parameters(self) -> dict[str, Any]:
        """Values of the filter."""
        return {name: value for clause in self.clauses for name, value in clause.parameters.items()}

    @property
    def source(self) -> sql.Composed:
        """The table, as ``k``."""
        return sql.SQL("{} k").format(self.table.relation)

    @property
    def place(self) -> sql.SQL:
        """Where a row ``k`` lies: while a statement runs, nothing names it as shortly, whatever its key."""
        return sql.SQL("k.ctid AS place, k.tableoid AS part")

    def joined(self, place: str) -> sql.Composed:
        """Join the rows of places to their table, as ``k``."""
        found = sql.Identifier(place)
        join = sql.SQL("JOIN {} ON k.ctid = {}.place").format(self.source, found)
        return sql.SQL("{} AND k.tableoid = {}.part").format(join, found) if self.table.is_partitioned else join

    @property
    def chosen(self) -> sql.Composed:
        """The rows that the filter leaves, if they are few, and how many there are: ``chosen`` and ``counted``."""
        return sql.SQL("""
            chosen AS MATERIALIZED (SELECT {place} FROM {source} WHERE {condition} LIMIT {limit}),
            counted AS MATERIALIZED (SELECT count(*) AS rows FROM chosen),
        """).format(place=self.place, source=self.source, condition=self.condition, limit=sql.Literal(self.few + 1))

    def are_few(self, most: int) -> sql.Composed:
        """True if the filter leaves no more than so many rows."""
        return sql.SQL("(SELECT rows <= {} FROM counted)").format(sql.Literal(min(most, self.few)))

    @property
    def is_chosen(self) -> sql.Composed:
        """True of rows ``k`` that are among ``chosen``, which are read by their places."""
        placed = sql.SQL("k.ctid = ANY(ARRAY(SELECT place FROM chosen))")
        if not self.table.is_partitioned:
            return placed
        return sql.SQL("{} AND (k.tableoid, k.ctid) IN (SELECT part, place FROM chosen)").format(placed)


def scope_of(
    table: Table, clauses: Sequence[Clause], missing_in: SpaceColumn | None, facts: Facts, wanted: int
) -> Scope:
    """The scope of a search.

    Few are as many rows as an index of vectors would have to be scanned for, if the filter left this many of them:
    ``wanted`` of every row in ``wanted · rows / few``.

    Args:
        table: in which is searched.
        clauses: the filter.
        missing_in: another space that must have no vector of the row.
        facts: of the table.
        wanted: rows to find by vector.
    """
    found = any(facts.finds(clause) for clause in clauses)
    few = min(_MOST, max(_FEWEST, math.isqrt(wanted * facts.rows))) if found else 0
    return Scope(table, tuple(clauses), missing_in, few)
