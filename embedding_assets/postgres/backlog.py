"""The backlog of a space: chunks without a vector, fetched in hash order and counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from psycopg import sql
from psycopg.types.json import Jsonb

from embedding_assets.planning import bucket_bounds, looks_at_all
from embedding_assets.postgres.estimates import estimate_rows
from embedding_assets.postgres.failures import current_failures, is_about

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Connection, Database
    from embedding_assets.postgres.table import Table
    from embedding_assets.spaces import SpaceColumn, VectorSpace

WINDOW_BYTES: Final = 32 * 2**20
"""Most bytes of text that are fetched at a time."""


@dataclass(frozen=True, slots=True)
class PendingChunk:
    """A chunk without a vector: its row's key, what the model is to read, and a fingerprint of that."""

    chunk_hash: str
    text: str
    fingerprint: str
    key: tuple[str, ...]

    def __repr__(self) -> str:
        return f"PendingChunk({self.chunk_hash}, {len(self.text)} characters)"


@dataclass(frozen=True, slots=True)
class Backlog:
    """The state of a space, counted from the table.

    Attributes:
        chunks: all chunks.
        embedded: chunks with a vector in the space.
        pending: chunks without one that are not quarantined, those waiting for a retry included.
        waiting: of these, chunks that failed and are not due yet.
        quarantined: chunks that failed too often.
        unreachable: pending chunks whose hash is not lowercase hex, so that no partition reaches them.
        estimated: whether ``chunks`` and ``embedded`` are the planner's estimate; the others always are counted.
    """

    chunks: int
    embedded: int
    pending: int
    waiting: int
    quarantined: int
    unreachable: int
    estimated: bool = False

    @property
    def coverage(self) -> float:
        """Share of the chunks that have a vector in the space; 1 for an empty table."""
        return self.embedded / self.chunks if self.chunks else 1.0

    @property
    def due(self) -> int:
        """Chunks that a run started now would embed."""
        return self.pending - self.waiting - self.unreachable


def fetch_pending(
    database: Database,
    column: SpaceColumn,
    buckets: range,
    *,
    after: str,
    limit: int,
    also_in: SpaceColumn | None = None,
    most_bytes: int = WINDOW_BYTES,
) -> list[PendingChunk]:
    """The next chunks without a vector, in hash order, that lie in ``buckets`` and behind ``after``.

    Reads through the partial index, so the cost follows the backlog, not the table; while a further space has its first
    load, through the unique one. Takes no row locks: a prefix is worked on by one run, and an edit in the meantime is
    noticed when the vector is written.

    Args:
        database: where.
        column: the space to embed in.
        buckets: of hashes.
        after: a hash; empty for the first window.
        limit: most chunks.
        also_in: a second space in which the chunks must be due too. It is through its partial index that they are
            found then: as a rule its backlog is small, and the column of ``column`` nearly empty.
        most_bytes: of their texts together, which ends the window earlier; the first chunk comes whatever its length.
    """
    table = database.table
    lower, upper = bucket_bounds(buckets.start, buckets.stop)
    # With names that no column has. Lengths are known without reading what lies out of line: only texts of the window
    # are read.
    query = sql.SQL("""
        SELECT "embedding_assets position", {text}, {fingerprint}, {key} FROM (
            SELECT *, sum("embedding_assets bytes") OVER (
                ORDER BY "embedding_assets position" ROWS UNBOUNDED PRECEDING
            ) - "embedding_assets bytes" AS "embedding_assets before" FROM (
                SELECT k.*, {order} AS "embedding_assets position", {bytes}::bigint AS "embedding_assets bytes"
                FROM {rows} k
                WHERE {is_due} AND {order} >= %(lower)s AND {order} < %(upper)s AND {order} > %(after)s
                ORDER BY {order} LIMIT %(limit)s
            ) AS next
        ) AS k WHERE "embedding_assets before" < %(most_bytes)s ORDER BY "embedding_assets position"
    """).format(
        text=table.text(),
        fingerprint=table.fingerprint(),
        key=table.key_texts(),
        order=table.order(),
        bytes=table.text_bytes(),
        rows=table.rows,
        is_due=_is_due(table, column, also_in),
    )
    parameters = {
        "lower": lower,
        "upper": upper,
        "after": after,
        "limit": limit,
        "most_bytes": most_bytes,
        "space": column.space.name,
        "other_space": also_in and also_in.space.name,
    }

    def work(connection: Connection) -> list[tuple[Any, ...]]:
        # In an index's order whatever the statistics say, which lag behind a load: with one of the others every window
        # would read and sort all that is left.
        connection.execute("""
            SELECT set_config('enable_sort', 'off', true), set_config('enable_seqscan', 'off', true),
                   set_config('enable_bitmapscan', 'off', true)
        """)
        return connection.execute(query, parameters).fetchall()

    rows = database.run(work)
    return [PendingChunk(row[0], row[1], row[2], tuple(row[3])) for row in rows]


def still_due(database: Database, column: SpaceColumn, chunks: Sequence[PendingChunk]) -> set[str]:
    """The hashes of those of ``chunks`` that have no vector yet, and the text that was fetched.

    One probe of the key's index for each, so a batch of them takes a few milliseconds.
    """
    table = database.table
    query = sql.SQL("""
        SELECT c.chunk_hash
        FROM jsonb_to_recordset(%s) AS c (chunk_hash text, key text[], fingerprint text) JOIN {rows} k ON {same_row}
        WHERE {is_missing} AND {fingerprint} = c.fingerprint
    """).format(
        rows=table.rows,
        same_row=table.key_equals(sql.SQL("c.key")),
        is_missing=is_missing(column),
        fingerprint=table.fingerprint(),
    )
    asked = [{"chunk_hash": c.chunk_hash, "key": c.key, "fingerprint": c.fingerprint} for c in chunks]

    def work(connection: Connection) -> set[str]:
        # Each row through the index, whatever the planner makes of a table without statistics.
        connection.execute("""
            SELECT set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
                   set_config('jit', 'off', true)
        """)
        return {row[0] for row in connection.execute(query, [Jsonb(asked)])}

    return database.run(work)


def due_prefixes(
    database: Database, column: SpaceColumn, prefixes: Sequence[str], *, also_in: SpaceColumn | None = None
) -> list[str]:
    """Prefixes that have a chunk that is due, with ``also_in`` in that second space too.

    One probe of the partial index for each, however large the table.
    """
    # LATERAL with LIMIT: EXISTS may become a join of all prefixes with the whole backlog.
    query = sql.SQL("""
        SELECT prefix FROM unnest(%(prefixes)s::text[], %(ends)s::text[]) AS p (prefix, stop) CROSS JOIN LATERAL (
            SELECT 1 FROM {rows} k WHERE {is_due} AND {order} >= prefix AND {order} < stop LIMIT 1
        ) AS due ORDER BY prefix
    """).format(rows=database.table.rows, is_due=_is_due(database.table, column, also_in), order=database.table.order())
    # "g" follows every hex digit, so this closes a prefix of any length.
    parameters = {
        "prefixes": list(prefixes),
        "ends": [f"{p}g" for p in prefixes],
        "space": column.space.name,
        "other_space": also_in and also_in.space.name,
    }
    return [row[0] for row in database.run(lambda connection: connection.execute(query, parameters).fetchall())]


def measure_due(database: Database, column: SpaceColumn, *, most: int) -> tuple[int, int]:
    """Number of chunks that are due, and the most tokens they can have: one a byte.

    Reads no more than ``most`` chunks: the question is whether there are only few.
    """
    query = sql.SQL("""
        SELECT count(*), coalesce(sum(bytes), 0)::bigint FROM (
            SELECT {bytes} + 1 AS bytes FROM {rows} k WHERE {is_due} LIMIT %(most)s
        ) AS due
    """).format(bytes=database.table.text_bytes(), rows=database.table.rows, is_due=_is_due(database.table, column))
    parameters = {"most": most, "space": column.space.name}

    def work(connection: Connection) -> Any:
        # By the statistics of a time before the load, any next row of the table would be one of many that are due.
        connection.execute("SELECT set_config('enable_seqscan', 'off', true)")
        return connection.execute(query, parameters).fetchone()

    chunks, tokens = database.run(work)
    return chunks, tokens


def _is_due(table: Table, column: SpaceColumn, also_in: SpaceColumn | None = None) -> sql.Composed:
    """The condition of rows ``k`` that a run in ``%(space)s`` would take up, with ``also_in`` in that too."""
    through, conditions = column, [table.reachable(), _not_blocked(table, "space")]
    if also_in is not None:
        # The serving space always has its partial index. The other column is named in a way that the planner cannot
        # match with the other partial index, whatever the statistics say.
        through, other = (column, also_in) if column.serving else (also_in, column)
        conditions += [
            sql.SQL("num_nulls(k.{}) = 1").format(sql.Identifier(other.name)),
            _not_blocked(table, "other_space"),
        ]
    return sql.SQL(" AND ").join([is_missing(through), *conditions])


def is_missing(column: SpaceColumn) -> sql.Composed:
    """True of rows ``k`` without a vector in a space."""
    if not column.name:
        return sql.Composed([sql.SQL("true")])
    return sql.SQL("k.{} IS NULL").format(sql.Identifier(column.name))


def _not_blocked(table: Table, space: str) -> sql.Composed:
    return sql.SQL("""
        NOT EXISTS (
            SELECT 1 FROM embedding_failures f
            WHERE {is_about} AND f.space = {space} AND (f.quarantined OR f.retry_at > now())
        )
    """).format(is_about=is_about(table), space=sql.Placeholder(space))


def not_quarantined(table: Table) -> sql.Composed:
    """True of rows ``k`` that have not failed too often in ``%(space)s``."""
    return sql.SQL(
        "NOT EXISTS (SELECT 1 FROM embedding_failures f WHERE {} AND f.space = %(space)s AND f.quarantined)"
    ).format(is_about(table))


def count_backlog(database: Database, column: SpaceColumn, *, written: int | None = None) -> Backlog:
    """Count chunks by state. Counting all chunks reads an index of the table, the rest only the backlog.

    Args:
        database: where.
        column: the space.
        written: vectors written by the run that asks; all chunks of a table that is far larger than that and the
            backlog are estimated. Default: counted however many.
    """
    table = database.table
    query = sql.SQL("""
        WITH missing AS (
            SELECT count(*) AS pending, count(*) FILTER (WHERE NOT {reachable} IS TRUE) AS unreachable
            FROM {rows} k WHERE {is_missing}
        ), failed AS (
            SELECT count(*) FILTER (WHERE f.quarantined) AS quarantined,
                   count(*) FILTER (WHERE NOT f.quarantined AND f.retry_at > now()) AS waiting
            FROM {failures} WHERE f.space = %(space)s AND {is_missing}
        )
        SELECT pending, waiting, quarantined, unreachable FROM missing, failed
    """).format(
        reachable=table.reachable(),
        rows=table.rows,
        is_missing=is_missing(column),
        failures=current_failures(table),
    )

    def work(connection: Connection) -> Backlog:
        row: Any = connection.execute(query, {"space": column.space.name}).fetchone()
        missing, waiting, quarantined, unreachable = row
        chunks, estimated = _count_chunks(connection, table, None if written is None else max(written, missing))
        pending = missing - quarantined
        return Backlog(chunks, chunks - missing, pending, waiting, quarantined, unreachable, estimated)

    return database.run(work)


def _count_chunks(connection: Connection, table: Table, written: int | None) -> tuple[int, bool]:
    """All chunks, and whether that is an estimate."""
    rows = 0 if written is None else estimate_rows(connection, table)
    if not looks_at_all(rows, written):
        return rows, True
    row: Any = connection.execute(sql.SQL("SELECT count(*) FROM {} k").format(table.rows), []).fetchone()
    return int(row[0]), False


def count_backlog_texts(
    database: Database, space: VectorSpace, column: SpaceColumn | None, *, once: bool = False
) -> tuple[int, int]:
    """Texts of the pending chunks and their tokens; a chunk without a stored count: a quarter of a token a byte.

    Args:
        database: where.
        space: says how many tokens of a chunk are read at most.
        column: where its vectors are; None: nowhere yet, so every chunk is pending.
        once: count what several chunks have in common once, as it is embedded; all texts are read for that.
    """
    table = database.table
    query = sql.SQL("""
        SELECT count(*), coalesce(sum(tokens), 0)::bigint
        FROM (SELECT {tokens} AS tokens FROM {rows} k WHERE {is_due} {groups}) AS texts
    """).format(
        tokens=sql.SQL("max(least(%(most)s, {}))" if once else "least(%(most)s, {})").format(table.tokens()),
        rows=table.rows,
        is_due=_is_due(table, column) if column else sql.SQL("true"),
        groups=sql.SQL("GROUP BY {}").format(table.fingerprint()) if once else sql.SQL(""),
    )
    parameters = {"most": space.max_tokens, "space": space.name}
    row: Any = database.run(lambda connection: connection.execute(query, parameters).fetchone())
    return int(row[0]), int(row[1])


def due_in_range(database: Database, column: SpaceColumn, buckets: range) -> int:
    """Number of chunks of these buckets that a run started now would take up."""
    lower, upper = bucket_bounds(buckets.start, buckets.stop)
    query = sql.SQL("""
        SELECT count(*) FROM {rows} k WHERE {is_due} AND {order} >= %(lower)s AND {order} < %(upper)s
    """).format(rows=database.table.rows, is_due=_is_due(database.table, column), order=database.table.order())
    parameters = {"lower": lower, "upper": upper, "space": column.space.name}
    row: Any = database.run(lambda connection: connection.execute(query, parameters).fetchone())
    return int(row[0])


def due_by_bucket(database: Database, column: SpaceColumn, buckets: range) -> dict[int, int]:
    """Lock bucket → chunks of it that a run started now would take up; those without any are missing."""
    lower, upper = bucket_bounds(buckets.start, buckets.stop)
    query = sql.SQL("""
        SELECT left({order}, 2), count(*) FROM {rows} k
        WHERE {is_due} AND {order} >= %(lower)s AND {order} < %(upper)s GROUP BY 1 ORDER BY 1
    """).format(rows=database.table.rows, is_due=_is_due(database.table, column), order=database.table.order())
    parameters = {"lower": lower, "upper": upper, "space": column.space.name}
    rows = database.run(lambda connection: connection.execute(query, parameters).fetchall())
    return {int(prefix, 16): count for prefix, count in rows}


def count_vectors(connection: Connection, table: Table, column: SpaceColumn, *, written: int | None = None) -> int:
    """Vectors of a space, counted by indexes alone or estimated: all chunks, less those without a vector."""
    query = sql.SQL("SELECT count(*) FROM {} k WHERE {}").format(table.rows, is_missing(column))
    row: Any = connection.execute(query, []).fetchone()
    missing = int(row[0])
    return _count_chunks(connection, table, None if written is None else max(written, missing))[0] - missing


def oldest_pending(database: Database, column: SpaceColumn) -> datetime | None:
    """Since when the longest waiting chunk has had no vector in a space; None when none waits.

    That is since its text came or was edited, a vector of it was taken away, or the space is there. Quarantined
    chunks, and those that no partition reaches, do not count. Reads the backlog through its partial index, however
    large the table.

    In a table of the user's nothing says since when: there it is the end of the last run. The chunk may have waited
    before, or have come since.
    """
    table = database.table
    since = sql.SQL("min(pending_since)" if table.is_own else "max(r.finished_at)")
    query = sql.SQL("""
        SELECT greatest({since}, (SELECT created_at FROM embedding_spaces WHERE name = %(space)s))
        FROM {rows} k {runs} WHERE {is_missing} AND {reachable} AND {not_quarantined} HAVING count(*) > 0
    """).format(
        since=since,
        rows=table.rows,
        runs=sql.SQL(
            ""
            if table.is_own
            else "LEFT JOIN (SELECT max(finished_at) AS finished_at FROM embedding_runs "
            "WHERE space = %(space)s) r ON true"
        ),
        is_missing=is_missing(column),
        reachable=table.reachable(),
        not_quarantined=not_quarantined(table),
    )

    def work(connection: Connection) -> datetime | None:
        # Whatever the statistics say of a load that has ended since. A space that is loaded for the first time may be
        # without the partial index, and then nearly all of the table is its backlog.
        partial = connection.execute(
            "SELECT to_regclass(format('%%I.%%I', %s::text, %s::text))", [table.schema, column.pending_index]
        ).fetchone()
        if partial != (None,):
            connection.execute("SELECT set_config('enable_seqscan', 'off', true)")
        row = connection.execute(query, {"space": column.space.name}).fetchone()
        return row[0] if row else None

    return database.run(work)
