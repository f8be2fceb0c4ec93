"""Advisory locks: one migration, one index build, one run for a prefix at a time, across all processes."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, LiteralString

from psycopg import OperationalError

from embedding_assets.errors import DatabaseUnavailableError

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Connection, Database

logger = logging.getLogger(__name__)

TABLE_LOCK: Final = "knowledge_base"
"""Held while the table's indexes or columns change. Two such statements at once would wait for each other: the one for
a lock on the table, with a snapshot open, the other (CONCURRENTLY) for the end of that snapshot."""

_POLL_SECONDS: Final = 0.2
_REMIND_SECONDS: Final = 60.0


@contextmanager
def hold(connection: Connection, name: str) -> Iterator[None]:
    """Hold the session lock ``name`` on an autocommit connection, waiting for it as long as it takes.

    The lock ends with the process, however that ends. Polls: a statement that blocks keeps a snapshot open, for which
    a concurrent index build of the lock's holder would wait in turn.
    """
    key = _number(name, 8)
    reminded = -_REMIND_SECONDS
    while connection.execute("SELECT pg_try_advisory_lock(%s)", [key]).fetchone() != (True,):
        if time.monotonic() - reminded >= _REMIND_SECONDS:
            reminded = time.monotonic()
            logger.info("waiting for another process that holds the lock %r", name)
        time.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        # A lost connection has released it, and must not hide what was raised inside.
        with suppress(OperationalError):
            connection.execute("SELECT pg_advisory_unlock(%s)", [key])


def is_loading(database: Database, space_name: str) -> bool:
    """True if a run holds any bucket of the space, and so is writing vectors into it."""
    query = """
        SELECT EXISTS (
            SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND classid = (%s::int # hashoid(%s::oid))::oid
        )
    """
    key = [_number(f"space {space_name}", 4), database.table.oid]
    return database.run(lambda connection: connection.execute(query, key).fetchone()) == (True,)


class PrefixLocks:
    """The lock buckets (first two hex characters of ``chunk_hash``) that this run holds in one space.

    The locks belong to a connection of their own, so they end with the process, however it ends. Advisory locks are the
    whole database's, so the table's oid is part of the key: another schema may have a table of the same name.
    """

    def __init__(self, database: Database, space_name: str) -> None:
        self._connection: Connection = database.connect(autocommit=True)
        self._space = _number(f"space {space_name}", 4)
        self._table = database.table.oid

    def acquire(self, buckets: range) -> list[int]:
        """Take those of ``buckets`` that no other run holds; returns them, ascending.

        Raises:
            DatabaseUnavailableError: the connection was lost.
        """
        query = """
            SELECT bucket FROM generate_series(%s::int, %s::int) AS bucket
            WHERE pg_try_advisory_lock(%s::int # hashoid(%s::oid), bucket) ORDER BY bucket
        """
        rows = self._execute(query, [buckets.start, buckets.stop - 1, self._space, self._table])
        return [row[0] for row in rows]

    def check(self) -> None:
        """Make sure the locks are still held.

        Raises:
            DatabaseUnavailableError: the connection, and with it the locks, was lost.
        """
        self._execute("SELECT 1")

    def close(self) -> None:
        """Give back everything."""
        # The server notices a closed connection in its own time, and until then the space would seem to be loading.
        with suppress(OperationalError):
            self._connection.execute("SELECT pg_advisory_unlock_all()")
        self._connection.close()

    def _execute(self, query: LiteralString, parameters: list[int] | None = None) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(query, parameters).fetchall()
        except OperationalError:
            raise DatabaseUnavailableError(
                "the connection that held this run's locks was lost; what was committed stays, run again to go on"
            ) from None


def _number(name: str, size: int) -> int:
    digest = hashlib.sha256(f"embedding_assets {name}".encode()).digest()
    return int.from_bytes(digest[:size], "big", signed=True)
