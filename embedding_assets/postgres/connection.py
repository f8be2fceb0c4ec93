"""Connections: a pool with health checks, transactions that are retried where that is safe, errors one can act on."""

from __future__ import annotations

import logging
import os
import re
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any, Self, TypeVar

import psycopg
import tenacity
from pgvector.psycopg import register_vector
from psycopg import errors as pg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import ConnectionPool

from embedding_assets.config import DatabaseConfig
from embedding_assets.errors import DatabaseError, DatabasePermissionError, DatabaseUnavailableError
from embedding_assets.postgres.interruption import is_interrupted, watched

logger = logging.getLogger(__name__)

Connection = psycopg.Connection[tuple[Any, ...]]
T = TypeVar("T")

# SQLSTATE classes and codes (https://www.postgresql.org/docs/current/errcodes-appendix.html) that may pass by
# themselves: connection exceptions, a transaction idle for too long, serialization failure and deadlock, too many
# connections, server going down or not up yet, lock not available.
_TRANSIENT = re.compile(r"^(08...|25P03|40001|40P01|53300|57P01|57P02|57P03|55P03)$")

# What a server says that was reached and does not let us in. While connecting there is no SQLSTATE to go by.
_REFUSED_LOGIN = re.compile(
    r"authentication failed|does not exist|no password supplied|no pg_hba.conf entry|permission denied for database"
    r"|not permitted to log in|does not support SSL"
)

# Errors whose message quotes a value, which may be chunk text; those of triggers and functions may say anything.
_QUOTING = re.compile(r"^(22003|22007|22008|22P02)$")
_RAISED = re.compile(r"^P0...$")


class Database:
    """A pool of connections to one PostgreSQL database.

    Every unit of work is a function of a connection that runs in one transaction. It may run more than once, so it
    must not have effects outside the database.
    """

    def __init__(self, url: str, config: DatabaseConfig) -> None:
        self._config = config
        self._conninfo = make_conninfo(
            url, connect_timeout=config.connect_timeout_seconds, application_name="embedding_assets"
        )
        self._pool: ConnectionPool[Connection] | None = None
        self._pool_lock = threading.Lock()
        _databases.add(self)

    def _renew(self) -> None:
        """In a forked process: the connections are its parent's, who must not lose them by what is closed here."""
        _left_to_parents.append(self._pool)
        self._pool, self._pool_lock = None, threading.Lock()

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

    def connect(self, *, autocommit: bool = False) -> Connection:
        """Open a connection outside the pool, waiting up to ``retry_seconds`` for the server.

        Raises:
            DatabaseUnavailableError: the server cannot be reached or refuses the login.
        """
        try:
            return self._retrying()(psycopg.connect, self._conninfo, autocommit=autocommit)
        except psycopg.Error as error:
            raise self.translate(error) from None

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

    def retry(self, work: Callable[[], T]) -> T:
        """Call ``work``, which has a connection of its own, again after a transient failure.

        Raises:
            DatabaseUnavailableError: the failure did not pass within ``retry_seconds``.
            DatabaseError: PostgreSQL refused.
        """
        try:
            result: T = self._retrying()(work)
        except psycopg.Error as error:
            raise self.translate(error) from None
        return result

    def run(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` in a transaction, again after a transient failure.

        If the connection is lost while committing, PostgreSQL is asked what became of the transaction; ``work`` is
        repeated only when it did not commit.

        Raises:
            DatabaseUnavailableError: the failure did not pass within ``retry_seconds``.
            DatabaseError: PostgreSQL refused.
        """
        try:
            result: T = self._retrying()(self._run_once, work)
        except psycopg.Error as error:
            raise self.translate(error) from None
        return result

    def run_pipelined(self, work: Callable[[Connection, Callable[[], None]], T]) -> T:
        """As ``run``, in few round trips, so that what ``work`` locks is held for a short time on a distant server.

        ``work`` is given a function besides: statements are sent when that is called, and their results can be read
        once it has returned. The transaction is READ COMMITTED: each statement sees what was committed before it.

        Raises:
            DatabaseUnavailableError: the failure did not pass within ``retry_seconds``.
            DatabaseError: PostgreSQL refused.
        """
        try:
            result: T = self._retrying()(self._run_pipelined_once, work)
        except psycopg.Error as error:
            raise self.translate(error) from None
        return result

    def close(self) -> None:
        """Close the pool; a later call opens it again."""
        with self._pool_lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def _opened_pool(self) -> ConnectionPool[Connection]:
        with self._pool_lock:
            if self._pool is None:
                self._pool = self._open_pool()
            return self._pool

    def _run_once(self, work: Callable[[Connection], T]) -> T:
        with self._opened_pool().connection() as connection, watched(connection):
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
        with self._opened_pool().connection() as connection, watched(connection):
            connection.autocommit = True  # the driver's own BEGIN and COMMIT are round trips of their own
            try:
                with connection.pipeline() as pipeline:
                    connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
                    asked = connection.execute("SELECT pg_current_xact_id()::text")
                    result = work(connection, pipeline.sync)
                    [transaction] = asked.fetchone() or [""]
                    connection.execute("COMMIT")
            except psycopg.OperationalError:
                if not transaction or not self._has_committed(transaction):
                    raise
            finally:
                with suppress(psycopg.OperationalError):
                    connection.rollback()
                if not connection.closed:
                    connection.autocommit = False
        return result

    def _has_committed(self, transaction: str) -> bool:
        def ask() -> str:
            try:
                with closing(self.connect(autocommit=True)) as connection:
                    row = connection.execute("SELECT pg_xact_status(%s::text::xid8)", [transaction]).fetchone()
            except pg.InvalidParameterValue:
                # An id the server has yet to give out: it crashed before it wrote anything of this transaction.
                return "aborted"
            except psycopg.OperationalError:
                return "in progress"  # lost again; raised, it would repeat the transaction in doubt
            return (row and row[0]) or "unknown"

        # Still in progress: the server has not yet noticed that its client is gone.
        status = tenacity.Retrying(
            stop=tenacity.stop_after_delay(self._config.retry_seconds),
            wait=tenacity.wait_fixed(0.2),
            retry=tenacity.retry_if_result(lambda status: status == "in progress"),
            retry_error_callback=lambda _: "unknown",
        )(ask)
        if status not in ("committed", "aborted"):
            raise DatabaseUnavailableError(f"{self.address}: a transaction was left in doubt; run again to go on")
        return status == "committed"

    def _open_pool(self) -> ConnectionPool[Connection]:
        self.connect().close()  # a pool only says that it timed out; this says why
        return ConnectionPool(
            self._conninfo,
            min_size=1,
            max_size=self._config.pool_size,
            timeout=self._config.connect_timeout_seconds,
            check=ConnectionPool.check_connection,
            configure=_register_types,
            open=True,
        )

    def _retrying(self) -> tenacity.Retrying:
        return tenacity.Retrying(
            stop=tenacity.stop_after_delay(self._config.retry_seconds),
            wait=tenacity.wait_random_exponential(multiplier=0.1, max=5),
            retry=tenacity.retry_if_exception(lambda error: _is_transient(error) and not is_interrupted()),
            before_sleep=_log_retry,
            reraise=True,
        )

    def translate(self, error: psycopg.Error) -> DatabaseError:
        """The error of this package that says in one line what to do, without a row's content or the password."""
        message = _public_message(error)
        if isinstance(error, pg.InsufficientPrivilege):
            return DatabasePermissionError(f"{self.address}: {message}; grant the right or use another role")
        if _is_refused_login(error):
            kind = DatabasePermissionError if "permission denied" in message else DatabaseUnavailableError
            return kind(f"{self.address} refused the login: {message}; check what EMBEDDING_DATABASE_URL says")
        if _is_transient(error):
            return DatabaseUnavailableError(
                f"{self.address} cannot be reached, or was lost and did not come back within "
                f"{self._config.retry_seconds:g} s: {message}; "
                "check that the server runs and what EMBEDDING_DATABASE_URL says"
            )
        return DatabaseError(f"{self.address}: {message} (SQLSTATE {error.sqlstate})")


def _public_message(error: psycopg.Error) -> str:
    # Only the primary message: the detail of a violated constraint would quote the row.
    text = error.diag.message_primary or next(iter(str(error).strip().splitlines()), type(error).__name__)
    code = error.sqlstate or ""
    if _RAISED.match(code):
        return "a trigger or function of the database raised an exception"
    if _QUOTING.match(code):
        text = re.sub(r'".*"', '"…"', text, flags=re.DOTALL)
    return " ".join(text.split())


def _is_refused_login(error: BaseException) -> bool:
    return (
        isinstance(error, psycopg.OperationalError)
        and not error.sqlstate
        and _REFUSED_LOGIN.search(str(error)) is not None
    )


def _is_transient(error: BaseException) -> bool:
    if not isinstance(error, psycopg.Error):
        return False
    if error.sqlstate:
        return bool(_TRANSIENT.match(error.sqlstate))
    # Without a SQLSTATE the server did not answer at all.
    return isinstance(error, psycopg.OperationalError) and not _is_refused_login(error)


def _log_retry(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    code = getattr(error, "sqlstate", None) or type(error).__name__
    # The first, second, fourth, eighth …: a server that is away for long must not fill the log.
    if state.attempt_number.bit_count() == 1:
        logger.warning(
            "database failure %s may pass, trying again (attempt %d)",
            code,
            state.attempt_number,
            extra={"sqlstate": code},
        )


def _register_types(connection: Connection) -> None:
    register_vector(connection)
    connection.commit()


_databases: weakref.WeakSet[Database] = weakref.WeakSet()
_left_to_parents: list[object] = []


def _renew_all() -> None:
    for database in list(_databases):
        database._renew()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_renew_all)
