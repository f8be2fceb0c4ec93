"""The rows nearest to a vector, as part of a statement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from embedding_assets.postgres.index_form import DISTANCE_OPERATORS

if TYPE_CHECKING:
    from embedding_assets.postgres.index_form import IndexForm
    from embedding_assets.postgres.search.scope import Scope
    from embedding_assets.spaces import SpaceColumn


@dataclass(frozen=True, slots=True)
class VectorLeg:
    """Looking for the nearest rows.

    Attributes:
        scope: among which rows.
        column: whose vectors are compared.
        form: of the index by which; None: all are read.
    """

    scope: Scope
    column: SpaceColumn
    form: IndexForm | None

    @property
    def distance(self) -> sql.Composed:
        """The exact distance of a row ``k`` to the question."""
        return sql.SQL("(k.{} {} %(vector)s::{})").format(
            sql.Identifier(self.column.name),
            DISTANCE_OPERATORS[self.column.similarity],
            sql.Identifier(self.column.storage),
        )

    @property
    def ctes(self) -> sql.Composed:
        """``near``: place, part, hash, distance, and how many candidates there were; ``near_ranked``: with their rank.

        With the parameters ``vector``, ``k`` rows wanted, and ``candidates`` of which they are the nearest. A zero
        vector's distance is NaN, which sorts last, and its row is not found.
        """
        near = self._of_all(sql.SQL("true"))
        if self.scope.few:
            few = self.scope.are_few(self.scope.few)
            near = sql.SQL("({}) UNION ALL ({})").format(
                self._exact(sql.SQL("{} AND {}").format(few, self.scope.is_chosen)),
                self._of_all(sql.SQL("NOT ({})").format(few)),
            )
        return sql.SQL("""
            near AS MATERIALIZED ({near}),
            near_ranked AS MATERIALIZED (
                SELECT place, part, hash, distance, row_number() OVER (ORDER BY distance, hash) AS rank FROM near
                WHERE distance <> 'NaN'
            )
        """).format(near=near)

    @property
    def _has_vector(self) -> sql.Composed:
        return sql.SQL("k.{} IS NOT NULL").format(sql.Identifier(self.column.name))

    def _of_all(self, gate: sql.Composable) -> sql.Composed:
        if self.form is None:
            return self._exact(sql.SQL("{} AND {}").format(gate, self.scope.condition))
        filter_ = self.scope.scanned if self.scope.few else self.scope.condition
        return self._by_index(self.form, sql.SQL("{} AND {}").format(gate, filter_))

    def _exact(self, condition: sql.Composable) -> sql.Composed:
        return sql.SQL("""
            SELECT {place}, {hash} AS hash, {distance} AS distance, NULL::bigint AS candidates FROM {source}
            WHERE {has_vector} AND {condition} ORDER BY distance, hash LIMIT %(k)s
        """).format(
            place=self.scope.place,
            hash=self.scope.table.hash(),
            distance=self.distance,
            source=self.scope.source,
            has_vector=self._has_vector,
            condition=condition,
        )

    def _by_index(self, form: IndexForm, condition: sql.Composable) -> sql.Composed:
        outputs = sql.SQL("{}, {} AS hash").format(self.scope.place, self.scope.table.hash())
        condition = sql.SQL("{} AND {}").format(self._has_vector, condition)
        return sql.SQL(
            "SELECT place, part, hash, embedding_distance AS distance, {} AS candidates FROM ({}) AS by_index"
        ).format(
            sql.SQL("count(*) OVER ()" if form.is_plain else "count"),
            form.nearest(outputs, self.scope.source, condition),
        )
