"""Chunks whose vectors are nearly the same: pairs that the vector index finds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from psycopg import sql
from psycopg.types.json import Jsonb

from embedding_assets.planning import EXACT_SEARCH_ROWS
from embedding_assets.postgres.backlog import count_vectors
from embedding_assets.postgres.catalog import form_for_search
from embedding_assets.postgres.duplicates.grouping import NearGroup, Pair, group
from embedding_assets.postgres.duplicates.place import Key, digest, read_places
from embedding_assets.postgres.index_form import IndexForm, plain_form
from embedding_assets.postgres.spaces import serving_space

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Connection, Database
    from embedding_assets.postgres.table import Table
    from embedding_assets.spaces import SpaceColumn

NEIGHBOURS: Final = 10
"""That each chunk is asked for."""

MOST_WITHOUT_INDEX: Final = 1_000
"""Chunks that are compared with all others where no index helps."""

_PORTION: Final = 100
"""Chunks that share a transaction: a long one keeps others from dropping an index."""

_MOST_EF_SEARCH: Final = 1_000
_ANY: Final = sql.SQL("true")
_ROUNDING: Final = 1e-6
"""Of the distance between equal vectors."""


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """Chunks of different texts that have nearly one vector.

    Attributes:
        space: whose vectors were compared; empty where none were.
        at_least: the least cosine of a pair.
        vectors: of the space.
        looked_at: chunks whose neighbours were looked for, among all others.
        left_out: chunks whose neighbours were not.
        by_index: whether an index found them, which may miss some; else all vectors were read.
        crowded: chunks of which all neighbours that were asked for are as near as that, so that there may be more.
        groups_in_all: how many groups there are.
        groups: the largest.
        reason: why nothing was compared; empty if it was.
    """

    space: str = ""
    at_least: float = 0.0
    vectors: int = 0
    looked_at: int = 0
    left_out: int = 0
    by_index: bool = False
    crowded: int = 0
    groups_in_all: int = 0
    groups: tuple[NearGroup, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Search:
    """How near-duplicates are looked for.

    Attributes:
        column: the space.
        form: of the index by which; None: all vectors are read.
        vectors: of the space.
        keys: of the rows that are looked at, the same ones each time.
        ef_search: candidates that an index examines.
        at_least: the least cosine.
    """

    column: SpaceColumn
    form: IndexForm | None
    vectors: int
    keys: tuple[Key, ...]
    ef_search: int
    at_least: float


@dataclass(frozen=True, slots=True)
class _Portion:
    pairs: list[Pair]
    looked_at: int
    crowded: int


def prepare(database: Database, *, at_least: float, most: int, ef_search: int) -> Search | NearDuplicates:
    """What is to be compared with what in the space that serves searches; or why that cannot be.

    Args:
        database: where.
        at_least: the least cosine of a pair, up to 1.
        most: chunks to look at; which ones is decided by their hashes, so they are any of them.
        ef_search: candidates that an index examines for each.
    """
    column = serving_space(database)
    if column is None:
        return NearDuplicates(reason="nothing was embedded yet; run `embedding-assets embed` first")
    if not column.scores_cosines:
        return NearDuplicates(
            reason=f"space {column.space.name} compares vectors by {column.similarity} and not by a cosine, so that "
            "no score means that two of them are nearly the same"
        )
    form, vectors = database.run(
        lambda connection: (
            form_for_search(connection, database.table, column),
            count_vectors(connection, database.table, column),
        ),
        without_limits=True,
    )
    if form is None:
        if vectors > EXACT_SEARCH_ROWS:
            return NearDuplicates(
                reason=f"space {column.space.name} has no vector index, and each of its {vectors:,} vectors would be "
                "compared with all others; `embedding-assets health` builds the index"
            )
        most = min(most, MOST_WITHOUT_INDEX)
    return Search(column, form, vectors, _choose(database, column, most), ef_search, at_least)


def find_near_duplicates(
    database: Database, search: Search, limit: int, on_progress: Callable[[int], None] = lambda _: None
) -> NearDuplicates:
    """The ``limit`` largest groups of chunks that are nearly the same; equal texts are no pair.

    Args:
        database: where.
        search: as ``prepare`` made it.
        limit: most groups.
        on_progress: is given numbers of chunks that were looked at.
    """
    pairs: dict[tuple[Key, Key], Pair] = {}
    looked_at = crowded = 0
    for start in range(0, len(search.keys), _PORTION):
        keys = search.keys[start : start + _PORTION]
        portion = database.run(partial(_compare, table=database.table, search=search, keys=keys))
        # Each of two chunks may find the other.
        pairs |= {(pair.one, pair.other): pair for pair in portion.pairs}
        looked_at += portion.looked_at
        crowded += portion.crowded
        on_progress(len(keys))
    groups = group(pairs.values())
    shown = groups[:limit]
    places = read_places(database, [key for one in shown for key in one.keys]) if shown else {}
    return NearDuplicates(
        space=search.column.space.name,
        at_least=search.at_least,
        vectors=search.vectors,
        looked_at=looked_at,
        left_out=max(0, search.vectors - looked_at),
        by_index=search.form is not None,
        crowded=crowded,
        groups_in_all=len(groups),
        groups=tuple(one.placed(places) for one in shown),
    )


def _choose(database: Database, column: SpaceColumn, most: int) -> tuple[Key, ...]:
    """Keys of rows with a vector, the first ones by their hashes: these are uniform."""
    table = database.table
    query = sql.SQL("SELECT {} FROM {} k WHERE {} IS NOT NULL ORDER BY {} LIMIT %s").format(
        table.key_texts(), table.rows, sql.Identifier(column.name), table.hash()
    )
    found = database.run(lambda connection: connection.execute(query, [most]).fetchall(), without_limits=True)
    return tuple(tuple(key) for (key,) in found)


def _compare(connection: Connection, table: Table, search: Search, keys: Sequence[Key]) -> _Portion:
    """The pairs that these rows make with any others."""
    name = sql.Identifier(search.column.name)
    _configure(connection, search)
    form = search.form or plain_form(search.column)
    nearest = sql.SQL("SELECT key, embedding_distance FROM ({}) AS nearest").format(
        form.nearest(
            sql.SQL("{} AS key").format(table.key_texts()),
            sql.SQL("{} k").format(table.relation),
            sql.SQL("{} AND {} IS NOT NULL").format(table.condition, name),
        )
    )
    k = NEIGHBOURS + 1  # the row itself
    candidates = form.candidates(k, search.ef_search)
    asked = _by_key(connection, table, keys, name, sql.SQL("vector_norm(k.{}::vector) > 0").format(name))
    near: dict[Key, list[tuple[Key, float]]] = {}
    crowded = 0
    for key, vector in asked.items():
        # Unprepared: the plan of a prepared query is kept when the settings that decide it change.
        rows = connection.execute(
            nearest, {"vector": vector, "k": k, "candidates": candidates}, prepare=False
        ).fetchall()
        scored = [(tuple(other), search.column.score(distance)) for other, distance in rows]
        others = [(other, score) for other, score in scored if other != key][:NEIGHBOURS]
        # A zero vector has no cosine, and compares as NaN.
        near[key] = [(other, score) for other, score in others if score >= search.at_least - _ROUNDING]
        crowded += len(near[key]) == NEIGHBOURS
    met = dict.fromkeys([*(key for key, others in near.items() if others), *(o for os in near.values() for o, _ in os)])
    said = _by_key(connection, table, list(met), digest(table))
    pairs = [
        Pair(min(key, other), max(key, other), min(score, 1.0))
        for key, others in near.items()
        for other, score in others
        if key in said and other in said and said[key] != said[other]
    ]
    return _Portion(pairs, len(asked), crowded)


def _configure(connection: Connection, search: Search) -> None:
    """For the transaction: read the index that is there, and else none."""
    settings = {"jit": "off", "enable_indexscan": "off"}
    if search.form is not None:
        k = NEIGHBOURS + 1
        examined = max(search.ef_search, search.form.candidates(k, search.ef_search))
        settings = {
            "jit": "off",
            # Only an index that is ordered by distance saves the sort.
            "enable_indexscan": "on",
            "enable_seqscan": "off",
            "enable_sort": "off",
            "hnsw.ef_search": str(min(_MOST_EF_SEARCH, examined)),
            "hnsw.iterative_scan": "strict_order",
        }
    for parameter, value in settings.items():
        connection.execute("SELECT set_config(%s, %s, true)", [parameter, value])


def _by_key(
    connection: Connection,
    table: Table,
    keys: Sequence[Key],
    output: sql.Composable,
    condition: sql.Composable = _ANY,
) -> dict[Key, Any]:
    """``output`` of the rows ``k`` with these keys, in the order of the keys."""
    query = sql.SQL("""
        SELECT {key}, {output} FROM jsonb_to_recordset(%(keys)s) AS wanted (number integer, key text[])
        JOIN {rows} k ON {equal} WHERE {condition} ORDER BY number
    """).format(
        key=table.key_texts(),
        output=output,
        rows=table.rows,
        equal=table.key_equals(sql.SQL("wanted.key")),
        condition=condition,
    )
    wanted = Jsonb([{"number": number, "key": key} for number, key in enumerate(keys)])
    return {tuple(key): value for key, value in connection.execute(query, {"keys": wanted}, prepare=False)}
