"""Chunks that could not be embedded: recorded by hash and code, retried later, quarantined in the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from psycopg import sql
from psycopg.types.json import Jsonb

if TYPE_CHECKING:
    from embedding_assets.config import EmbeddingConfig
    from embedding_assets.postgres.connection import Connection, Database
    from embedding_assets.postgres.table import Table

_IS_SAME: Final = sql.SQL("(f.fingerprint IS NULL OR f.fingerprint = excluded.fingerprint)")


@dataclass(frozen=True, slots=True)
class Failure:
    """One chunk's failures in one space."""

    chunk_hash: str
    space: str
    error_code: str
    attempts: int
    last_failed_at: datetime
    retry_at: datetime
    quarantined: bool
    source: str


@dataclass(frozen=True, slots=True)
class FailedChunk:
    """A chunk that could not be embedded just now.

    Attributes:
        chunk_hash: its hash.
        error_code: why, in snake case.
        key: of its row; empty: the hash itself.
        fingerprint: of the text that failed; None: whatever it is now.
    """

    chunk_hash: str
    error_code: str
    key: tuple[str, ...] = ()
    fingerprint: str | None = None


def save_failures(database: Database, space_name: str, failed: Sequence[FailedChunk], config: EmbeddingConfig) -> None:
    """Count one more failure for each chunk in ``failed``.

    The wait before the next attempt doubles with every failure; after ``max_attempts`` the chunk is quarantined.
    A chunk that was deleted in the meantime is left out, and so is one whose text is another by now: the new text has
    not failed.
    """
    table = database.table
    query = sql.SQL("""
        INSERT INTO embedding_failures AS f
            (chunk_hash, key, space, fingerprint, error_code, attempts, retry_at, quarantined)
        SELECT n.chunk_hash, n.key, %(space)s, {fingerprint}, n.code, 1, now() + %(delay)s * interval '1 second',
               1 >= %(most)s
        FROM jsonb_to_recordset(%(failed)s) AS n (chunk_hash text, key text[], fingerprint text, code text)
        JOIN {rows} k ON {same_row}
        WHERE n.fingerprint IS NULL OR n.fingerprint = {fingerprint}
        ORDER BY n.chunk_hash
        ON CONFLICT (chunk_hash, space) DO UPDATE SET
            error_code = excluded.error_code,
            fingerprint = excluded.fingerprint,
            attempts = {attempts},
            first_failed_at = CASE WHEN {is_same} THEN f.first_failed_at ELSE now() END,
            last_failed_at = now(),
            retry_at = now() + %(delay)s * least(power(2, {attempts} - 1), 1e6) * interval '1 second',
            quarantined = {attempts} >= %(most)s
    """).format(
        rows=table.rows,
        same_row=table.key_equals(sql.SQL("n.key")),
        fingerprint=table.fingerprint(),
        is_same=_IS_SAME,
        attempts=sql.SQL("CASE WHEN {} THEN f.attempts + 1 ELSE 1 END").format(_IS_SAME),
    )
    parameters = {
        "space": space_name,
        "failed": Jsonb(
            [
                {
                    "chunk_hash": chunk.chunk_hash,
                    "key": chunk.key or [chunk.chunk_hash],
                    "fingerprint": chunk.fingerprint,
                    "code": chunk.error_code,
                }
                for chunk in failed
            ]
        ),
        "delay": config.retry_delay_seconds,
        "most": config.max_attempts,
    }

    def work(connection: Connection) -> None:
        connection.execute(query, parameters)

    if failed:
        database.run(work)


def is_about(table: Table) -> sql.Composed:
    """True of a failure ``f`` and a row ``k`` if it is this row that failed, with the text that it has now."""
    return sql.SQL("f.chunk_hash = {} AND (f.fingerprint IS NULL OR f.fingerprint = {})").format(
        table.hash(), table.fingerprint()
    )


def current_failures(table: Table) -> sql.Composed:
    """Failures ``f`` with their rows ``k``; those of rows that are gone, or have another text by now, left out."""
    # A process of an earlier version records no key.
    is_same = sql.SQL("f.chunk_hash = {}").format(table.hash()) if table.is_own else table.key_equals(sql.SQL("f.key"))
    return sql.SQL("embedding_failures f JOIN {} k ON {} AND (f.fingerprint IS NULL OR f.fingerprint = {})").format(
        table.rows, is_same, table.fingerprint()
    )


def list_failures(database: Database, *, limit: int = 1000) -> list[Failure]:
    """Recorded failures, quarantined ones first, then the latest."""
    query = sql.SQL("""
        SELECT f.chunk_hash, f.space, f.error_code, f.attempts, f.last_failed_at, f.retry_at, f.quarantined, {source}
        FROM {failures} ORDER BY f.quarantined DESC, f.last_failed_at DESC, f.chunk_hash LIMIT %s
    """).format(source=database.table.source(), failures=current_failures(database.table))
    rows = database.run(lambda connection: connection.execute(query, [limit]).fetchall())
    return [Failure(*row) for row in rows]


def count_failures(database: Database, space_name: str) -> dict[str, int]:
    """Error code → chunks of a space that failed with it last, the most frequent first."""
    query = sql.SQL("""
        SELECT f.error_code, count(*) FROM {} WHERE f.space = %s
        GROUP BY f.error_code ORDER BY count(*) DESC, f.error_code
    """).format(current_failures(database.table))
    return dict(database.run(lambda connection: connection.execute(query, [space_name]).fetchall()))


def count_quarantined(database: Database, space_name: str, prefix_length: int) -> dict[str, int]:
    """First characters of the hash → quarantined chunks of a space."""
    query = sql.SQL("""
        SELECT left(f.chunk_hash, %s), count(*) FROM {} WHERE f.space = %s AND f.quarantined GROUP BY 1
    """).format(current_failures(database.table))
    return dict(database.run(lambda connection: connection.execute(query, [prefix_length, space_name]).fetchall()))


def forget_outdated(database: Database) -> int:
    """Remove the failures of rows that are gone, or have another text by now; returns how many."""
    query = sql.SQL("""
        DELETE FROM embedding_failures g WHERE NOT EXISTS (
            SELECT FROM {} WHERE (f.chunk_hash, f.space) = (g.chunk_hash, g.space)
        )
    """).format(current_failures(database.table))
    return database.run(lambda connection: connection.execute(query, []).rowcount)


def retry_failures(database: Database) -> int:
    """Make every failed chunk due at once and give it its attempts back; returns how many."""
    forget_outdated(database)
    return database.run(lambda connection: connection.execute("DELETE FROM embedding_failures").rowcount)
