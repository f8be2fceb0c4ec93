"""Advisory locks: one migration, one index build, one run for a prefix at a time, across all processes."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from psycopg import OperationalError

from embedding_assets.planning import BUCKETS, contiguous
from embedding_assets.postgres.interruption import check_interrupted, check_stopped, polling
from embedding_assets.postgres.lock_holders import describe_advisory_holder, describe_bucket_holders, introduce

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Connection, Database

logger = logging.getLogger(__name__)

TABLE_LOCK: Final = "knowledge_base"
"""Held while the table's indexes or columns change. Two such statements at once would wait for each other: the one for
a lock on the table, with a snapshot open, the other (CONCURRENTLY) for the end of that snapshot."""

_LEADING: Final = BUCKETS
"""Beside the buckets of a space: held, by any number, while a run hands them out."""

_POLL_SECONDS: Final = 0.2
_REMIND_SECONDS: Final = 30.0

_KEPT_IDLE: Final = {
    "idle_session_timeout": "0",
    # So that a machine that has vanished keeps no lock for longer than a minute; no effect on a local socket.
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}

_Session = tuple[int, str]
"""Process id and start of a session of the server: what tells it from all others."""


@contextmanager
def hold(connection: Connection, name: str) -> Iterator[None]:
    """Hold the session lock ``name`` on an autocommit connection, waiting for it as long as it takes.

    The lock ends with the process, however that ends. Polls: a statement that blocks keeps a snapshot open, for which
    a concurrent index build of the lock's holder would wait in turn.
    """
    _wait_for(connection, name)
    try:
        yield
    finally:
        _let_go(connection, name)


@contextmanager
def hold_alone(database: Database, *names: str) -> Iterator[None]:
    """As ``hold``, on a connection of its own, which is opened again where it is lost while waiting.

    Of several locks each is waited for with those before it held, so give them in the same order everywhere.

    Raises:
        DatabaseError: the lock cannot be had.
    """

    def wait() -> Connection:
        connection = database.connect(autocommit=True)
        try:
            keep_idle(connection)
            for name in names:
                _wait_for(connection, name)
        except BaseException:
            connection.close()
            raise
        return connection

    with closing(database.retry(wait)) as connection:
        try:
            yield
        finally:
            for name in names:
                _let_go(connection, name)


def keep_idle(connection: Connection) -> None:
    """Let an autocommit connection be idle for any time while its client lives, and end soon after that does not.

    It is for locks, so others see whose it is.
    """
    introduce(connection)
    for name, value in _KEPT_IDLE.items():
        connection.execute("SELECT set_config(%s, %s, false)", [name, value])


def _wait_for(connection: Connection, name: str) -> None:
    key = _number(name, 8)
    reminded = -_REMIND_SECONDS
    with polling():
        while connection.execute("SELECT pg_try_advisory_lock(%s)", [key]).fetchone() != (True,):
            check_interrupted()
            check_stopped()
            if time.monotonic() - reminded >= _REMIND_SECONDS:
                reminded = time.monotonic()
                holder = describe_advisory_holder(connection, key)
                logger.info("waiting for the lock %r, which %s holds", name, holder or "another process")
            time.sleep(_POLL_SECONDS)
    introduce(connection)


def _let_go(connection: Connection, name: str) -> None:
    # A lost connection has released it, and must not hide what was raised inside.
    with suppress(OperationalError):
        connection.execute("SELECT pg_advisory_unlock(%s)", [_number(name, 8)])


@contextmanager
def announced(database: Database, run_id: str, *, loading: str | None = None) -> Iterator[None]:
    """Let others see by ``is_announced`` that a run is going on, for as long as this process lives.

    With the name of a space in ``loading`` they see by ``is_loading``, too, that it is being loaded, also while no
    bucket of it is held: between two of the ranges that the run hands out.
    """
    with closing(database.connect(autocommit=True)) as connection:
        keep_idle(connection)
        connection.execute("SELECT pg_advisory_lock_shared(%s)", [_number(f"run {run_id}", 8)])
        if loading is not None:
            connection.execute(
                "SELECT pg_advisory_lock_shared(%s::int # hashoid(%s::oid), %s)",
                [_number(f"space {loading}", 4), database.table.oid, _LEADING],
            )
        yield


def is_announced(database: Database, run_id: str) -> bool:
    """True while that run is going on; it may have lost its connection, so its buckets count as well."""
    query = """
        SELECT EXISTS (
            SELECT FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND (classid::bigint << 32) | objid::bigint = %s
        )
    """
    key = _number(f"run {run_id}", 8)
    return database.run(lambda connection: connection.execute(query, [key]).fetchone()) == (True,)


def busy_buckets(database: Database, space_name: str) -> frozenset[int]:
    """The lock buckets of a space that runs hold now."""
    return frozenset(bucket for bucket in _locked(database, space_name) if bucket < BUCKETS)


def is_loading(database: Database, space_name: str) -> bool:
    """True if a run holds any bucket of the space, and so is writing vectors into it, or hands them out to others."""
    return bool(_locked(database, space_name))


def _locked(database: Database, space_name: str) -> frozenset[int]:
    query = """
        SELECT objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND classid = (%s::int # hashoid(%s::oid))::oid
    """
    key = [_number(f"space {space_name}", 4), database.table.oid]
    rows = database.run(lambda connection: connection.execute(query, key).fetchall())
    return frozenset(row[0] for row in rows)


class PrefixLocks:
    """The lock buckets (first two hex characters of ``chunk_hash``) that this run holds in one space.

    The locks belong to a connection of their own, so they end with the process, however it ends. Where that is lost,
    the same buckets are taken again on another. Advisory locks are the whole database's, so the table's oid is part of
    the key: another schema may have a table of the same name.

    Attributes:
        held: the buckets, ascending.
    """

    def __init__(self, database: Database, space_name: str) -> None:
        self.held: list[int] = []
        self._database = database
        self._space = _number(f"space {space_name}", 4)
        self._connection, self._session = database.retry(self._connect)

    def acquire(self, buckets: range) -> list[int]:
        """Take those of ``buckets`` that no other run holds; returns them, ascending.

        Raises:
            DatabaseError: the connection was lost and cannot be had again.
        """
        try:
            taken = self._take(self._connection, [buckets])
        except OperationalError:
            self._recover()
            taken = self._database.retry(lambda: self._take(self._connection, [buckets]))
        self.held = sorted({*self.held, *taken})
        return taken

    def describe_others(self) -> str:
        """Who holds buckets of the space besides, in words; empty where none do any more.

        Raises:
            DatabaseError: the database cannot be asked.
        """
        key = self._space, self._database.table.oid
        return self._database.run(
            lambda connection: describe_bucket_holders(connection, *key, besides=self._session[0])
        )

    def check(self) -> bool:
        """Make sure that the locks are held; takes them again if their connection was lost.

        Returns:
            Whether they were held all the time. If not, another run may have worked on any of these buckets meanwhile,
            and those that it holds now are no longer in ``held``.

        Raises:
            DatabaseError: the connection was lost and cannot be had again.
        """
        try:
            self._connection.execute("SELECT 1")
        except OperationalError:
            self._recover()
            return False
        return True

    def close(self) -> None:
        """Give back everything."""
        # The server notices a closed connection in its own time, and until then the space would seem to be loading.
        with suppress(OperationalError):
            self._connection.execute("SELECT pg_advisory_unlock_all()")
        self._connection.close()

    def _recover(self) -> None:
        logger.warning("the connection that held this run's locks was lost, taking them again")
        self._connection.close()
        wanted = contiguous(self.held)

        def take_again() -> tuple[Connection, _Session, list[int]]:
            connection, session = self._connect()
            try:
                # Where the network failed, the server may not know yet that its client is gone.
                connection.execute(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                    "WHERE pid = %s AND extract(epoch FROM backend_start)::text = %s",
                    self._session,
                )
                return connection, session, self._take(connection, wanted)
            except BaseException:
                connection.close()
                raise

        self._connection, self._session, held = self._database.retry(take_again)
        if len(held) < len(self.held):
            logger.warning("%d hash ranges were taken by another run meanwhile", len(self.held) - len(held))
        self.held = held

    def _connect(self) -> tuple[Connection, _Session]:
        connection = self._database.connect(autocommit=True)
        try:
            keep_idle(connection)
            row: Any = connection.execute(
                "SELECT pid, extract(epoch FROM backend_start)::text FROM pg_stat_activity WHERE pid = pg_backend_pid()"
            ).fetchone()
        except BaseException:
            connection.close()
            raise
        return connection, row

    def _take(self, connection: Connection, parts: Iterable[range]) -> list[int]:
        query = """
            SELECT bucket FROM generate_series(%s::int, %s::int) AS bucket
            WHERE pg_try_advisory_lock(%s::int # hashoid(%s::oid), bucket) ORDER BY bucket
        """
        key = [self._space, self._database.table.oid]
        return [
            bucket
            for part in parts
            for (bucket,) in connection.execute(query, [part.start, part.stop - 1, *key]).fetchall()
        ]


def _number(name: str, size: int) -> int:
    digest = hashlib.sha256(f"embedding_assets {name}".encode()).digest()
    return int.from_bytes(digest[:size], "big", signed=True)
