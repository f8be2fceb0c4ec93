"""The forms of a vector index: over the numbers of a column, over shorter ones, or over their signs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from psycopg import sql

from embedding_assets.spaces import MOST_DIMENSIONS, IndexType, Similarity, SpaceColumn

if TYPE_CHECKING:
    from collections.abc import Sequence

DISTANCE_OPERATORS: Final[Mapping[Similarity, sql.SQL]] = {
    "cosine": sql.SQL("<=>"),
    "dot": sql.SQL("<#>"),
    "euclidean": sql.SQL("<->"),
    "manhattan": sql.SQL("<+>"),
}
"""pgvector's distances: 1 - cosine, the negative inner product, the Euclidean and the Manhattan distance."""

DEFAULT_TYPE: Final[IndexType] = "vector"
"""Of a new index. One of an expression is smaller and sooner built, but a query that somebody else writes over the
column would not find it."""

_OPERATOR_CLASSES: Final = {"cosine": "cosine", "dot": "ip", "euclidean": "l2", "manhattan": "l1"}
_BITS: Final[Mapping[IndexType, int]] = {"vector": 32, "halfvec": 16, "bit": 1}
_COARSER: Final[Sequence[IndexType]] = ("vector", "halfvec", "bit")

_CANDIDATES: Final = 10
"""Rows that an index of signs is asked for, for each that is wanted: their column then tells which are the nearest."""

_FEWEST_CANDIDATES: Final = 4
_MOST_CANDIDATES: Final = 1000
"""Largest hnsw.ef_search."""


@dataclass(frozen=True, slots=True)
class IndexForm:
    """An index of a space's column, by what it holds of a vector; queries must say the same in the same words.

    Attributes:
        column: whose vectors.
        type: of what the index holds.
    """

    column: SpaceColumn
    type: IndexType

    @property
    def is_plain(self) -> bool:
        """Whether the column itself is indexed; else an expression is."""
        return self.type == self.column.storage

    @property
    def is_rough(self) -> bool:
        """Whether the index knows signs alone, so that only the column tells how near a candidate is."""
        return self.type == "bit"

    @property
    def cast(self) -> str:
        """The type that the expression ends in; empty for a plain index."""
        return "" if self.is_plain else f"{self.type}({self.column.space.dimensions})"

    @property
    def operator_class(self) -> str:
        """pgvector's operator class."""
        return "bit_hamming_ops" if self.is_rough else f"{self.type}_{_OPERATOR_CLASSES[self.column.similarity]}_ops"

    @property
    def vector_bytes(self) -> int:
        """Bytes of an entry's numbers."""
        return -(-self.column.space.dimensions * _BITS[self.type] // 8)

    @property
    def key(self) -> sql.Composed:
        """What CREATE INDEX has between its parentheses, without the options."""
        return sql.SQL("{} {}").format(
            self._reduced(sql.Identifier(self.column.name)), sql.Identifier(self.operator_class)
        )

    def candidates(self, k: int, ef_search: int) -> int:
        """Rows to fetch by the index where ``k`` are wanted.

        From signs, all that hnsw.ef_search examines: a larger value finds more here too.
        """
        return max(k, min(_MOST_CANDIDATES, max(ef_search, _CANDIDATES * k))) if self.is_rough else k

    def fewest(self, k: int) -> int:
        """Candidates among which the ``k`` nearest may be looked for; with fewer, all rows are read.

        A filter that few rows pass leaves less than were asked for, and reading all of a large table takes long.
        """
        return max(k, min(_MOST_CANDIDATES, _FEWEST_CANDIDATES * k)) if self.is_rough else k

    def nearest(self, outputs: sql.Composable, source: sql.Composable, condition: sql.Composable) -> sql.Composed:
        """A query for the rows nearest to ``%(vector)s``, nearest first, by the exact distance.

        Args:
            outputs: expressions to select; the distance follows them.
            source: the table, and its alias.
            condition: what must hold of a row.

        Returns:
            With the parameters ``vector``, ``k`` rows wanted, and ``candidates`` of which they are the nearest. Without
            a plain index a last column has how many candidates were found.
        """
        name = sql.Identifier(self.column.name)
        distance = sql.SQL("{} {} %(vector)s::{}").format(
            name, DISTANCE_OPERATORS[self.column.similarity], sql.Identifier(self.column.storage)
        )
        # By a name that no column of the table has.
        selected = sql.SQL("SELECT {}, {} AS embedding_distance FROM {} WHERE {}").format(
            outputs, distance, source, condition
        )
        if self.is_plain:
            return sql.SQL("{} ORDER BY embedding_distance LIMIT %(k)s").format(selected)
        if self.is_rough and self.column.similarity == "cosine":
            # As in an index of numbers; they would stand among the candidates, but have no distance.
            selected = sql.SQL("{} AND vector_norm({}::vector) > 0").format(selected, name)
        operator = sql.SQL("<~>") if self.is_rough else DISTANCE_OPERATORS[self.column.similarity]
        return sql.SQL("""
            SELECT *, count(*) OVER () FROM ({selected} ORDER BY {reduced} {operator} {vector} LIMIT %(candidates)s)
                AS nearest
            ORDER BY embedding_distance LIMIT %(k)s
        """).format(
            selected=selected,
            reduced=self._reduced(name),
            operator=operator,
            vector=self._reduced(sql.SQL("%(vector)s::{}").format(sql.Identifier(self.column.storage))),
        )

    def _reduced(self, vector: sql.Composable) -> sql.Composable:
        """What the index holds of a vector. PostgreSQL takes the index where a query has the same expression."""
        if self.is_plain:
            return vector
        size = sql.Literal(self.column.space.dimensions)
        if self.is_rough:
            return sql.SQL("(binary_quantize({})::bit({}))").format(vector, size)
        return sql.SQL("({}::halfvec({}))").format(vector, size)


def plain_form(column: SpaceColumn) -> IndexForm:
    """An index of the column itself; searches are exact where it has none."""
    return IndexForm(column, column.storage)


def possible_forms(column: SpaceColumn) -> list[IndexForm]:
    """Every form that an index of the column can have, the most exact first."""
    return [
        IndexForm(column, one)
        for one in _COARSER[_COARSER.index(column.storage) :]
        if column.space.dimensions <= MOST_DIMENSIONS[one]
    ]


def form_to_build(column: SpaceColumn, index_type: IndexType | None) -> IndexForm:
    """The form of a new index: as configured, or the next one that is possible with such a column.

    Args:
        column: whose index.
        index_type: the configured one; None: the default.
    """
    wanted = _COARSER.index(index_type or DEFAULT_TYPE)
    forms = possible_forms(column)
    return next((form for form in forms if _COARSER.index(form.type) >= wanted), forms[-1])
