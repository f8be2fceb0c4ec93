"""Connections: a pool of them, transactions that are retried where that is safe, errors one can act on."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from typing import Any, Self, TypeVar

import psycopg
import tenacity
from pgvector.psycopg import register_vector
from psycopg import errors as pg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import ConnectionPool, PoolTimeout

from embedding_assets.config import DatabaseConfig, TableConfig
from embedding_assets.errors import ConfigurationError, DatabaseError, DatabaseUnavailableError, EmbeddingAssetsError
from embedding_assets.postgres import pooling
from embedding_assets.postgres.interruption import is_interrupted, watched
from embedding_assets.postgres.lock_holders import describe_holder
from embedding_assets.postgres.lookup import find_table
from embedding_assets.postgres.password import PasswordSource
from embedding_assets.postgres.patience import Patience, log_retry, transaction_status
from embedding_assets.postgres.pipelining import pipelined
from embedding_assets.postgres.pooled import PooledConnection, check_idle, note_idle
from embedding_assets.postgres.refusals import describe_failure, is_refused_login, is_transient
from embedding_assets.postgres.session_settings import apply_settings, lift_limits, settings_for
from embedding_assets.postgres.table import Table
from embedding_assets.postgres.url import KEEPALIVES

Connection = psycopg.Connection[tuple[Any, ...]]
Statement = tuple[sql.Composed, Mapping[str, Any]]
"""SQL and the values of its parameters by name."""

T = TypeVar("T")


class Database:
    """A pool of connections to one PostgreSQL database.

    Every unit of work is a function of a connection that runs in one transaction. It may run more than once, so it
    must not have effects outside the database.
    """

    def __init__(self, url: str, config: DatabaseConfig, source: TableConfig | None = None) -> None:
        self._config = config
        self._source = source or TableConfig()
        self._table: Table | None = None
        self._password = PasswordSource(config)
        self._conninfo = _complete(url, config)
        self._through_pooler = False  # one that keeps sessions to their clients
        self._pool: ConnectionPool[PooledConnection] | None = None
        self._pool_lock = threading.Lock()
        _databases.add(self)

    def _renew(self) -> None:
        """In a forked process: the connections are its parent's, who must not lose them by what is closed here."""
        _left_to_parents.append(self._pool)
        self._pool, self._pool_lock = None, threading.Lock()
        self._password = PasswordSource(self._config)

    def __repr__(self) -> str:
        return f"Database({self.address})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def address(self) -> str:
        """Its address without the password: ``user@host:port/database``."""
        parts = conninfo_to_dict(self._conninfo)
        host, port = parts.get("host") or "localhost", parts.get("port") or 5432
        return f"{parts.get('user') or 'default user'}@{host}:{port}/{parts.get('dbname') or 'default database'}"

    @property
    def table(self) -> Table:
        """The table that is kept embedded; looked up once.

        Raises:
            TableNotAdoptedError: the table was not made by this package, and was not adopted.
            ConfigurationError: there is no such table, or it is not clear which one is meant.
        """
        if self._table is None:
            self._table = self.run_in_session(lambda connection: find_table(connection, self._source))
        return self._table

    def use_table(self, table: Table | None) -> None:
        """Work on another table from now on; None: look it up again."""
        self.close()
        self._table = table

    def connect(self, *, autocommit: bool = False) -> Connection:
        """Open a connection outside the pool, waiting up to ``retry_seconds`` for the server.

        It is one for locks and for what takes long: the role's time limits are lifted, and the server ends it, and its
        locks, within a minute after this machine has vanished.

        Raises:
            DatabaseUnavailableError: the server cannot be reached or refuses the login.
            ConfigurationError: sessions are not kept to their clients, the database is of encoding SQL_ASCII, or the
                password cannot be read.
        """
        connection = self._retry(self._open_session)
        connection.autocommit = autocommit
        return connection

    def _find_records(self, connection: Connection) -> None:
        """Let statements find what is kept about the table, wherever the role's search path leads."""
        if self._table is not None:
            connection.execute(
                """
                SELECT set_config(
                    'search_path', concat_ws(', ', quote_ident(%s), nullif(current_setting('search_path'), '')), false
                )
                """,
                [self._table.records],
            )

    @contextmanager
    def session(self) -> Iterator[Connection]:
        """An autocommit connection outside the pool, for session locks and for what no transaction allows.

        Raises:
            DatabaseError: what psycopg raised inside, in this package's terms.
        """
        with closing(self.connect(autocommit=True)) as connection:
            try:
                with watched(connection):
                    yield connection
            except psycopg.Error as error:
                raise self.translate(error) from None

    def run_in_session(self, work: Callable[[Connection], T]) -> T:
        """Run ``work``, which changes nothing, in a ``session``; again after a transient failure.

        Raises:
            DatabaseUnavailableError: the failure did not pass within ``retry_seconds``.
            DatabaseError: PostgreSQL refused.
        """

        def once() -> T:
            with closing(self._open_session()) as connection, watched(connection):
                return work(connection)

        return self._retry(once)

    def run(self, work: Callable[[Connection], T], *, without_limits: bool = False) -> T:
        """Run ``work`` in a transaction, again after a transient failure.

        If the connection is lost while committing, PostgreSQL is asked what became of the transaction; ``work`` is
        repeated only when it did not commit.

        Args:
            work: what to do; it has no effects outside the database.
            without_limits: the role's time limits do not hold for this one; for what has cost much. A round trip.

        Raises:
            DatabaseUnavailableError: the failure did not pass within ``retry_seconds``.
            DatabaseError: PostgreSQL refused.
        """
        return self._retry(lambda: self._run_once(work, without_limits=without_limits))

    def retry(self, work: Callable[[], T]) -> T:
        """Call ``work``, which connects by itself, again after a transient failure.

        Raises:
            DatabaseError: as ``run`` does.
        """
        return self._retry(work)

    def run_pipelined(self, work: Callable[[Connection, Callable[[], None]], T]) -> T:
        """As ``run``, in few round trips, so that what ``work`` locks is held for a short time on a distant server.

        ``work`` is given a function besides: statements are sent when that is called, and their results can be read
        once it has returned. The transaction is READ COMMITTED: each statement sees what was committed before it.

        Raises:
            DatabaseUnavailableError: the failure did not pass within ``retry_seconds``.
            DatabaseError: PostgreSQL refused.
        """
        return self._retry(lambda: self._run_pipelined_once(work))

    def read(self, statements: Sequence[Statement]) -> list[list[tuple[Any, ...]]]:
        """The rows of each of some statements that change nothing, in one transaction and one round trip.

        A statement sees what those before it have set for the transaction. None is prepared: each is planned by its own
        values.

        Raises:
            DatabaseUnavailableError: the failure did not pass within ``retry_seconds``.
            DatabaseError: PostgreSQL refused.
        """
        return self._retry(lambda: self._read_once(statements))

    def close(self) -> None:
        """Close the pool; a later call opens it again."""
        with self._pool_lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def _opened_pool(self) -> ConnectionPool[PooledConnection]:
        with self._pool_lock:
            if self._pool is None:
                self._pool = self._open_pool()
            return self._pool

    @contextmanager
    def _borrowed(self) -> Iterator[Connection]:
        pool = self._opened_pool()
        with ExitStack() as stack:
            try:
                connection = stack.enter_context(pool.connection())
            except PoolTimeout:
                self._open_session().close()  # a pool only says that it timed out; this says why, if it is the server
                raise
            stack.callback(note_idle, connection)  # as the pool's `reset`, it would come back by another thread, later
            stack.enter_context(watched(connection))
            yield connection

    def _run_once(self, work: Callable[[Connection], T], *, without_limits: bool) -> T:
        with self._borrowed() as connection:
            if without_limits:
                lift_limits(connection)
            result = work(connection)
            row = connection.execute("SELECT pg_current_xact_id_if_assigned()::text").fetchone()
            transaction = row[0] if row else None
            try:
                connection.commit()
            except psycopg.OperationalError:
                if transaction is None or not self._has_committed(transaction):
                    raise
        return result

    def _run_pipelined_once(self, work: Callable[[Connection, Callable[[], None]], T]) -> T:
        transaction = ""
        with self._borrowed() as connection:
            try:
                with pipelined(connection) as pipeline:
                    connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
                    asked = connection.execute("SELECT pg_current_xact_id()::text")
                    result = work(connection, pipeline.sync)
                    [transaction] = asked.fetchone() or [""]
                    connection.execute("COMMIT")
            except psycopg.OperationalError:
                if not transaction or not self._has_committed(transaction):
                    raise
        return result

    def _read_once(self, statements: Sequence[Statement]) -> list[list[tuple[Any, ...]]]:
        with self._borrowed() as connection:
            with pipelined(connection):
                connection.execute("BEGIN READ ONLY")
                cursors = [connection.execute(query, values, prepare=False) for query, values in statements]
                connection.execute("COMMIT")
            return [cursor.fetchall() for cursor in cursors]

    def _has_committed(self, transaction: str) -> bool:
        again = partial(self.connect, autocommit=True)
        status = transaction_status(transaction, connect=again, seconds=self._config.retry_seconds)
        if status not in ("committed", "aborted"):
            raise DatabaseUnavailableError(f"{self.address}: a transaction was left in doubt; run again to go on")
        return status == "committed"

    def _open_pool(self) -> ConnectionPool[PooledConnection]:
        self.table  # noqa: B018 (looked up before a connection needs it)
        self.connect().close()  # a pool only says that it timed out; this says why

        class Pooled(PooledConnection):
            @classmethod
            def connect(cls, *_: Any, **__: Any) -> Any:
                return self._log_in(super().connect)

        return ConnectionPool(
            connection_class=Pooled,
            min_size=1,
            max_size=self._config.pool_size,
            timeout=self._config.connect_timeout_seconds,
            check=check_idle,
            configure=self._configure,
            open=True,
        )

    def _configure(self, connection: PooledConnection) -> None:
        self._apply_settings(connection, holds_locks=False)
        self._find_records(connection)
        register_vector(connection)
        connection.autocommit = False
        note_idle(connection)

    def _open_session(self) -> Connection:
        connection = self._log_in()
        try:
            self._apply_settings(connection, holds_locks=True)
            self._find_records(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _log_in(self, connect: Callable[..., Connection] = psycopg.connect) -> Connection:
        """A new connection, in autocommit mode and as the server makes it."""
        password = self._password.read()
        try:
            return connect(self._with(password), autocommit=True)
        except psycopg.OperationalError as error:
            if password is None or not is_refused_login(error):
                raise
            # It may have expired, or have been changed since.
            renewed = self._password.read(refused=password)
            if renewed == password:
                raise
        return connect(self._with(renewed), autocommit=True)

    def _with(self, password: str | None) -> str:
        return self._conninfo if password is None else make_conninfo(self._conninfo, password=password)

    def _apply_settings(self, connection: Connection, *, holds_locks: bool) -> None:
        if connection.info.parameter_status("server_encoding") == "SQL_ASCII":
            raise ConfigurationError(
                f"{self.address}: the database's encoding is SQL_ASCII, in which text is bytes without a meaning; "
                "create a database WITH ENCODING 'UTF8' TEMPLATE template0 and move the tables there"
            )
        settings = settings_for(connection, holds_locks=holds_locks)
        if apply_settings(connection, settings, through_pooler=self._through_pooler) or self._through_pooler:
            return
        if pooling.shares_sessions(connection, self._log_in):
            raise ConfigurationError(f"{self.address}: {pooling.ADVICE}")
        self._through_pooler = True
        apply_settings(connection, settings, through_pooler=True)

    def _retry(self, attempt: Callable[[], T]) -> T:
        """Make attempts until one does not fail for what may pass, or ``retry_seconds`` after the first that did."""
        patience = Patience(self._config.retry_seconds)
        retrying = tenacity.Retrying(
            stop=patience,
            wait=tenacity.wait_random_exponential(multiplier=0.1, max=5),
            retry=tenacity.retry_if_exception(lambda error: is_transient(error) and not is_interrupted()),
            before_sleep=log_retry,
            reraise=True,
        )
        try:
            result: T = retrying(attempt)
        except psycopg.Error as error:
            raise self.translate(error, waited_seconds=patience.waited_seconds) from None
        return result

    def translate(self, error: psycopg.Error, *, waited_seconds: float = 0.0) -> DatabaseError:
        """The error of this package that says in one line what to do, without a row's content or the password.

        Args:
            error: what the driver raised.
            waited_seconds: how long it was tried again.
        """
        return describe_failure(
            error,
            address=self.address,
            role=str(conninfo_to_dict(self._conninfo).get("user") or ""),
            waited_seconds=waited_seconds,
            lock_holder=self._lock_holder() if isinstance(error, pg.LockNotAvailable) else "",
        )

    def _lock_holder(self) -> str:
        with suppress(psycopg.Error, EmbeddingAssetsError), closing(self._log_in()) as connection:
            return describe_holder(connection, str(self._table or "knowledge_base"))
        return ""


def _complete(url: str, config: DatabaseConfig) -> str:
    """The connection string with what it does not say itself, and with the one encoding that texts have here."""
    given = conninfo_to_dict(url)
    ours: dict[str, str | int] = {
        **KEEPALIVES,
        "connect_timeout": config.connect_timeout_seconds,
        "application_name": "embedding_assets",
    }
    missing = {name: value for name, value in ours.items() if name not in given}
    return make_conninfo(url, **missing, client_encoding="utf8")


_databases: weakref.WeakSet[Database] = weakref.WeakSet()
_left_to_parents: list[object] = []


def _renew_all() -> None:
    for database in list(_databases):
        database._renew()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_renew_all)
