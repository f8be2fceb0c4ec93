"""The rows among which is searched, and how PostgreSQL comes to them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from psycopg import sql

from embedding_assets.postgres.samples import table_sample

if TYPE_CHECKING:
    from embedding_assets.postgres.conditions import Clause
    from embedding_assets.postgres.search.facts import Facts
    from embedding_assets.postgres.table import Table
    from embedding_assets.spaces import SpaceColumn

_FEWEST: Final = 500
_MOST: Final = 5000
"""Rows whose exact distances are computed at most, about 10 µs each where vectors lie out of line."""

_PASSING: Final = "embedding_assets.passing"
"""Setting of a transaction: rows that pass the filter."""

_SAMPLE_ROWS: Final = 500
_LEAST_PASSING: Final = 10
_SHARE: Final = 30
"""Of rows at random: where more than ten and one in thirty of them pass a filter, it does not leave few."""

_GUESSED_ROWS: Final = 2000
"""Rows at random by which it is guessed how many pass a filter without an index, some milliseconds; of a table that has
no more, all are read anyway."""

_MOST_SCANNED: Final = 20_000
"""Rows after which pgvector gives up looking for some that pass (hnsw.max_scan_tuples)."""

SPLIT_ROWS: Final = 500
"""Texts that are split for a question rather than looked up in the index of words, about 0.1 ms each."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What must hold of a row to be found.

    Where PostgreSQL finds the rows that a filter leaves by an index, they are looked up first, up to a few: then their
    distances are computed, and their texts split, one by one. An index of vectors would have to be scanned for long.
    So it would be where no index finds those that a filter leaves, but hardly any of some rows at random pass it: then
    the table is read for them at once.

    Attributes:
        table: in which is searched.
        clauses: the filter.
        missing_in: another space that must have no vector of the row.
        few: rows up to which they are looked up first; 0: never.
        guessed_of: about how many rows the table has, where no index finds those of the filter, so that their number is
            guessed by some at random; 0: it is not.
    """

    table: Table
    clauses: tuple[Clause, ...]
    missing_in: SpaceColumn | None
    few: int
    guessed_of: int = 0

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
    def counting(self) -> sql.Composed:
        """A statement that notes how many rows the filter leaves, for the transaction, and returns that.

        It is for the next statement to know before it is planned: PostgreSQL guesses badly how many documents have a
        field, and would compute all distances of a filter that half of the rows pass. Such a one is known by some rows
        at random; else the rows are counted, up to one more than a few, or guessed where no index finds them.
        """
        if self.guessed_of:
            return self._guessing
        return sql.SQL("""
            WITH sampled AS (
                SELECT count(*) AS rows, count(*) FILTER (WHERE {condition}) AS passing
                FROM (SELECT * FROM {sample} LIMIT {sample_rows}) k
            )
            SELECT set_config({setting}, (
                CASE WHEN (SELECT passing > {least} AND passing * {share} > rows FROM sampled) THEN {many}
                ELSE (SELECT count(*) FROM (SELECT FROM {source} WHERE {condition} LIMIT {many}) passing) END
            )::text, true)::integer
        """).format(
            condition=self.condition,
            sample=table_sample(self.table, _SAMPLE_ROWS),
            sample_rows=sql.Literal(_SAMPLE_ROWS),
            setting=sql.Literal(_PASSING),
            least=sql.Literal(_LEAST_PASSING),
            share=sql.Literal(_SHARE),
            many=sql.Literal(self.few + 1),
            source=self.source,
        )

    @property
    def _guessing(self) -> sql.Composed:
        """The same by rows at random alone: not more than pass if the next one did."""
        return sql.SQL("""
            WITH first AS (SELECT {counts} FROM (SELECT * FROM {few} LIMIT {few_rows}) k),
            more AS (SELECT {counts} FROM (SELECT * FROM {sample} LIMIT {sample_rows}) k)
            SELECT set_config({setting}, (
                CASE WHEN (SELECT passing > 1 FROM first) THEN {many}
                ELSE (SELECT least({many}, ceil({rows} * (passing + 1) / greatest(rows, 1))) FROM more) END
            )::integer::text, true)::integer
        """).format(
            counts=sql.SQL("count(*) AS rows, count(*) FILTER (WHERE {}) AS passing").format(self.condition),
            few=table_sample(self.table, _SAMPLE_ROWS),
            few_rows=sql.Literal(_SAMPLE_ROWS),
            sample=table_sample(self.table, _GUESSED_ROWS),
            sample_rows=sql.Literal(_GUESSED_ROWS),
            setting=sql.Literal(_PASSING),
            many=sql.Literal(self.few + 1),
            rows=sql.Literal(float(self.guessed_of)),
        )

    @property
    def chosen(self) -> sql.Composed:
        """The rows that the filter leaves, if they are few: ``chosen``."""
        return sql.SQL("chosen AS MATERIALIZED (SELECT {} FROM {} WHERE {} AND {}),").format(
            self.place, self.source, self.are_few(self.few), self.condition
        )

    @property
    def scanned(self) -> sql.Composed:
        """``condition``, worded so that no index of the filter is used: it would find too many rows.

        Of a partitioned table, columns are compared in plain words too, which alone leave out partitions.
        """
        scanned = sql.SQL("({}) IS TRUE").format(self.condition)
        if not self.table.is_partitioned:
            return scanned
        plain = [clause.sql for clause in self.clauses if clause.indexable is not None and not clause.is_contained]
        return sql.SQL(" AND ").join([scanned, *plain])

    def are_few(self, most: int) -> sql.Composed:
        """True if the filter leaves no more than so many rows, as ``counting`` has noted."""
        return sql.SQL("current_setting({})::integer <= {}").format(
            sql.Literal(_PASSING), sql.Literal(min(most, self.few))
        )

    @property
    def is_chosen(self) -> sql.Composable:
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
    ``wanted`` of every row in ``wanted · rows / few``. Where no index finds them, reading the table takes as long as
    scanning the index of vectors for half of its rows, or for as many as it is scanned at most.

    Args:
        table: in which is searched.
        clauses: the filter.
        missing_in: another space that must have no vector of the row.
        facts: of the table.
        wanted: rows to find by vector.
    """
    if any(facts.finds(clause) for clause in clauses):
        few = min(_MOST, max(_FEWEST, math.isqrt(wanted * facts.rows)))
        return Scope(table, tuple(clauses), missing_in, few)
    if clauses and facts.form is not None and facts.rows > _GUESSED_ROWS:
        few = min(_MOST, max(2 * wanted, wanted * facts.rows // _MOST_SCANNED))
        return Scope(table, tuple(clauses), missing_in, few, facts.rows)
    return Scope(table, tuple(clauses), missing_in, 0)
