"""Chunks that could not be embedded: recorded by hash and code, retried later, quarantined in the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from embedding_assets.config import EmbeddingConfig
    from embedding_assets.postgres.connection import Connection, Database


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
        text_version: of the text that failed; None: whatever it is now.
    """

    chunk_hash: str
    error_code: str
    text_version: int | None = None


def save_failures(database: Database, space_name: str, failed: Sequence[FailedChunk], config: EmbeddingConfig) -> None:
    """Count one more failure for each chunk in ``failed``.

    The wait before the next attempt doubles with every failure; after ``max_attempts`` the chunk is quarantined.
    A chunk that was deleted in the meantime is left out, and so is one whose text has another version by now: the new
    text has not failed.
    """
    query = """
        INSERT INTO embedding_failures AS f (chunk_hash, space, error_code, attempts, retry_at, quarantined)
        SELECT chunk_hash, %(space)s, code, 1, now() + %(delay)s * interval '1 second', 1 >= %(most)s
        FROM (
            SELECT chunk_hash, code
            FROM unnest(%(hashes)s::text[], %(codes)s::text[], %(versions)s::bigint[]) AS f (chunk_hash, code, version)
            JOIN knowledge_base k USING (chunk_hash)
            WHERE version IS NULL OR version = k.text_version
            ORDER BY chunk_hash FOR SHARE OF k
        ) AS failed
        ON CONFLICT (chunk_hash, space) DO UPDATE SET
            error_code = excluded.error_code,
            attempts = f.attempts + 1,
            last_failed_at = now(),
            retry_at = now() + %(delay)s * least(power(2, f.attempts), 1e6) * interval '1 second',
            quarantined = f.attempts + 1 >= %(most)s
    """
    parameters = {
        "space": space_name,
        "hashes": [chunk.chunk_hash for chunk in failed],
        "codes": [chunk.error_code for chunk in failed],
        "versions": [chunk.text_version for chunk in failed],
        "delay": config.retry_delay_seconds,
        "most": config.max_attempts,
    }

    def work(connection: Connection) -> None:
        connection.execute(query, parameters)

    if failed:
        database.run(work)


def list_failures(database: Database, *, limit: int = 1000) -> list[Failure]:
    """Recorded failures, quarantined ones first, then the latest."""
    query = """
        SELECT chunk_hash, space, error_code, attempts, last_failed_at, retry_at, quarantined,
               coalesce(document_metadata ->> 'source', '')
        FROM embedding_failures JOIN knowledge_base USING (chunk_hash)
        ORDER BY quarantined DESC, last_failed_at DESC, chunk_hash LIMIT %s
    """
    rows = database.run(lambda connection: connection.execute(query, [limit]).fetchall())
    return [Failure(*row) for row in rows]


def count_failures(database: Database, space_name: str) -> dict[str, int]:
    """Error code → chunks of a space that failed with it last, the most frequent first."""
    query = """
        SELECT error_code, count(*) FROM embedding_failures WHERE space = %s
        GROUP BY error_code ORDER BY count(*) DESC, error_code
    """
    return dict(database.run(lambda connection: connection.execute(query, [space_name]).fetchall()))


def count_quarantined(database: Database, space_name: str, prefix_length: int) -> dict[str, int]:
    """First characters of the hash → quarantined chunks of a space."""
    query = """
        SELECT left(chunk_hash, %s), count(*) FROM embedding_failures WHERE space = %s AND quarantined GROUP BY 1
    """
    return dict(database.run(lambda connection: connection.execute(query, [prefix_length, space_name]).fetchall()))


def retry_failures(database: Database) -> int:
    """Make every failed chunk due at once and give it its attempts back; returns how many."""
    return database.run(lambda connection: connection.execute("DELETE FROM embedding_failures").rowcount)
