"""The nearest neighbours of stored vectors, found exactly or by an index, and which of both it was."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from psycopg import errors as pg
from psycopg import sql

from embedding_assets.postgres.catalog import describe, form_for_search, parts_of_index
from embedding_assets.postgres.index_form import plain_form
from embedding_assets.postgres.samples import table_sample

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Connection, Database
    from embedding_assets.postgres.table import Table
    from embedding_assets.spaces import SpaceColumn

_LARGEST_EF_SEARCH: Final = 1000

_SHORTEST_LIMIT_MILLISECONDS: Final = 1000
"""It also holds for the statements that end a savepoint and the transaction, which must not be cancelled."""

_CANDIDATES: Final = 20
"""Rows of the pages that are looked at for each query that is wanted."""

_TRANSACTION_SECONDS: Final = 1.0
"""Queries share a transaction until then. A long one keeps others from dropping an index."""


@dataclass(frozen=True, slots=True)
class StoredQuery:
    """A stored vector that is asked for its neighbours; ``chunk_hash`` is its own."""

    chunk_hash: str
    vector: Any


@dataclass(frozen=True, slots=True)
class Answer:
    """The nearest other rows of a query.

    Attributes:
        distances: to them, ascending, at most k.
        milliseconds: until they were there.
        cosine: the largest to one of them; 0 where it was not asked for or there is none.
    """

    distances: list[float]
    milliseconds: float
    cosine: float


def sample_queries(database: Database, column: SpaceColumn, size: int) -> list[StoredQuery]:
    """Stored vectors from one place in hash order, the same each time: hashes are uniform, so they are any vectors.

    Of a table of the user's, whose hashes are in no index, those of some pages, the same ones each time.

    Sorting at random would read them all, as would another order than that of the table's own index of hashes, which
    in an adopted table need not be that of "C". Zero vectors have no direction, and are in no index of cosines.
    """
    return database.run(lambda connection: _sample(connection, database.table, column, size))


def _sample(connection: Connection, table: Table, column: SpaceColumn, size: int) -> list[StoredQuery]:
    start = hashlib.sha256(column.space.name.encode()).hexdigest()[:8]
    usable = sql.SQL("{} IS NOT NULL").format(sql.Identifier(column.name))
    if column.similarity == "cosine":
        usable = sql.SQL("{} AND vector_norm({}::vector) > 0").format(usable, sql.Identifier(column.name))
    selected = sql.SQL("SELECT {}, {}").format(table.hash(), sql.Identifier(column.name))
    rows: list[tuple[Any, ...]] = []
    if not table.is_own:
        usable = sql.SQL("{} AND {}").format(usable, table.condition)
        for source in (
            sql.SQL("{} REPEATABLE (1) WHERE {} ").format(table_sample(table, _CANDIDATES * size), usable),
            sql.SQL("{} k WHERE {} ORDER BY {} ").format(table.relation, usable, table.key_order()),
        ):
            if len(rows) < size:
                rows = connection.execute(sql.SQL("{} FROM {} LIMIT %s").format(selected, source), [size]).fetchall()
        return [StoredQuery(*row) for row in rows]
    for comparison in (">=", "<"):
        rows += connection.execute(
            sql.SQL("""
                {selected} FROM {table} k WHERE {usable} AND chunk_hash {than} %s ORDER BY chunk_hash LIMIT %s
            """).format(selected=selected, table=table.relation, usable=usable, than=sql.SQL(comparison)),
            [start, size - len(rows)],
        ).fetchall()
    return [StoredQuery(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class _Way:
    """A way of searching: the query, the settings it is made under, the candidates it asks an index for."""

    statement: sql.Composed
    configure: Callable[[Connection], None]
    candidates: int


class NeighbourSearch:
    """Searches for the ``k`` nearest rows of stored vectors, their own left out.

    By its hash and not by its distance, which an equal vector shares.
    """

    def __init__(self, database: Database, column: SpaceColumn, k: int) -> None:
        table = database.table
        self._database = database
        self._column = column
        self._k = k
        self._indexes, state = database.run(
            lambda connection: (
                parts_of_index(connection, table, column.index),
                describe(connection, table, column.index),
            )
        )
        self._form = state.form(column) or plain_form(column)
        vectors = sql.Identifier(column.name)
        rows = (sql.SQL("{} k").format(table.relation), sql.SQL("{} IS NOT NULL").format(vectors))
        chunk_hash = sql.SQL("{} AS chunk_hash").format(table.hash())
        self._by_index = sql.SQL("SELECT chunk_hash, embedding_distance, 0 FROM ({}) AS nearest").format(
            self._form.nearest(chunk_hash, *rows)
        )
        # In a query around it, so that the cosine is computed for the nearest rows only.
        exact = sql.SQL(
            "SELECT chunk_hash, embedding_distance, coalesce(1 - nullif(vector <=> %(vector)s, 'NaN'), 0) "
            "FROM ({}) AS nearest"
        ).format(plain_form(column).nearest(sql.SQL("{}, {} AS vector").format(chunk_hash, vectors), *rows))
        self._exactly = _Way(exact, _forbid_indexes, k + 1)

    def exact(
        self,
        queries: Sequence[StoredQuery],
        *,
        enough: Callable[[int], bool] = lambda _: False,
        seconds: float = math.inf,
    ) -> list[Answer]:
        """The true neighbours of the queries in their order, until so many answers are ``enough``.

        Not even a single query lasts longer than ``seconds`` in all; it is cancelled then, and left out.
        """
        return self._answers(self._exactly, queries, enough, seconds)

    def by_index(
        self,
        queries: Sequence[StoredQuery],
        ef_search: int,
        *,
        enough: Callable[[int], bool] = lambda _: False,
        seconds: float = math.inf,
    ) -> list[Answer]:
        """Search by the index; by one more candidate than ``ef_search``, since the row itself takes a place."""

        def configure(connection: Connection) -> None:
            _force_index(connection)
            self._configure_search(connection, ef_search)

        way = _Way(self._by_index, configure, self._candidates(ef_search))
        return self._answers(way, queries, enough, seconds)

    def planner_uses_index(self, query: StoredQuery, ef_search: int) -> bool:
        """True if PostgreSQL answers a search by this index of its own accord, and one asks it to."""
        database = self._database
        asked = database.run(lambda connection: form_for_search(connection, database.table, self._column))
        if asked != self._form:
            return False
        way = _Way(
            self._by_index,
            lambda connection: self._configure_search(connection, ef_search),
            self._candidates(ef_search),
        )
        return not self._indexes.isdisjoint(self._indexes_read(way, query))

    def can_use_index(self, query: StoredQuery) -> bool:
        """True if ``by_index`` reads this index."""
        way = _Way(self._by_index, _force_index, self._candidates(0))
        return not self._indexes.isdisjoint(self._indexes_read(way, query))

    def is_exact(self, query: StoredQuery) -> bool:
        """True if ``exact`` reads no index at all."""
        return not self._indexes_read(self._exactly, query)

    def _candidates(self, ef_search: int) -> int:
        return self._form.candidates(self._k + 1, ef_search + 1)

    def _configure_search(self, connection: Connection, ef_search: int) -> None:
        # As a search does.
        value = min(_LARGEST_EF_SEARCH, max(ef_search + 1, self._candidates(ef_search)))
        connection.execute(
            "SELECT set_config('hnsw.ef_search', %s, true), set_config('hnsw.iterative_scan', 'strict_order', true)",
            [str(value)],
        )

    def _answers(
        self,
        way: _Way,
        queries: Sequence[StoredQuery],
        enough: Callable[[int], bool],
        seconds: float,
    ) -> list[Answer]:
        answers: list[Answer] = []
        deadline = time.monotonic() + seconds

        def work(connection: Connection) -> tuple[list[Answer], bool]:
            """A portion of the answers, and whether there is time for more."""
            way.configure(connection)
            portion: list[Answer] = []
            started = time.monotonic()
            for query in queries[len(answers) :]:
                try:
                    # Within a savepoint: what is cancelled must not take the others with it.
                    with connection.transaction():
                        _limit(connection, deadline - time.monotonic())
                        portion.append(self._answer(connection, way, query))
                except pg.QueryCanceled:
                    if time.monotonic() < deadline:  # by somebody else
                        raise
                    return portion, False
                if enough(len(answers) + len(portion)) or time.monotonic() - started >= _TRANSACTION_SECONDS:
                    break
            return portion, time.monotonic() < deadline

        in_time = True
        while in_time and len(answers) < len(queries) and not (answers and enough(len(answers))):
            portion, in_time = self._database.run(work)
            answers += portion
        return answers

    def _answer(self, connection: Connection, way: _Way, query: StoredQuery) -> Answer:
        started = time.perf_counter()
        # Unprepared: the plan of a prepared query is kept when the settings that decide it change.
        rows = connection.execute(way.statement, self._parameters(way, query), prepare=False).fetchall()
        milliseconds = (time.perf_counter() - started) * 1000
        others = [row for row in rows if row[0] != query.chunk_hash][: self._k]
        return Answer([row[1] for row in others], milliseconds, max((row[2] for row in others), default=0.0))

    def _indexes_read(self, way: _Way, query: StoredQuery) -> set[str]:
        explain = sql.SQL("EXPLAIN (FORMAT JSON) {}").format(way.statement)

        def work(connection: Connection) -> Any:
            way.configure(connection)
            return connection.execute(explain, self._parameters(way, query), prepare=False).fetchone()

        plan = self._database.run(work)[0][0]["Plan"]
        return {node["Index Name"] for node in _nodes(plan) if "Index Name" in node}

    def _parameters(self, way: _Way, query: StoredQuery) -> dict[str, Any]:
        return {"vector": query.vector, "k": self._k + 1, "candidates": way.candidates}


def _limit(connection: Connection, seconds: float) -> None:
    """For the transaction: the server's own limit on statements is meant for others."""
    milliseconds = 0 if math.isinf(seconds) else max(_SHORTEST_LIMIT_MILLISECONDS, math.ceil(seconds * 1000))
    connection.execute("SELECT set_config('statement_timeout', %s, true)", [str(milliseconds)])


def _force_index(connection: Connection) -> None:
    # Only an index that is ordered by distance saves the sort.
    connection.execute("""
        SELECT set_config('enable_indexscan', 'on', true), set_config('enable_seqscan', 'off', true),
               set_config('enable_sort', 'off', true)
    """)


def _forbid_indexes(connection: Connection) -> None:
    connection.execute("""
        SELECT set_config('enable_seqscan', 'on', true), set_config('enable_sort', 'on', true),
               set_config('enable_indexscan', 'off', true), set_config('enable_indexonlyscan', 'off', true),
               set_config('enable_bitmapscan', 'off', true)
    """)


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from _nodes(child)
