"""Errors of PostgreSQL: which may pass by themselves, and what to say of them without a row's content."""

from __future__ import annotations

import re
from typing import Final

import psycopg
from psycopg import errors as pg
from psycopg import sql

from embedding_assets.errors import DatabaseError, DatabasePermissionError, DatabaseUnavailableError, RowRefusedError

# SQLSTATE classes and codes (https://www.postgresql.org/docs/current/errcodes-appendix.html) that may pass by
# themselves: connection exceptions, a transaction or session idle for too long, serialization failure and deadlock,
# too many connections, server going down or not up yet, lock not available. Not 57014 and 25P04: a statement or
# transaction that ran into a time limit takes as long the next time.
_TRANSIENT: Final = re.compile(r"^(08...|25P03|40001|40P01|53300|57P01|57P02|57P03|57P05|55P03)$")

# Of those, what the server answered while it was there, for another's sake.
_CONFLICTS: Final = re.compile(r"^(40001|40P01)$")

# What a server says that was reached and does not let us in. While connecting there is no SQLSTATE to go by.
_REFUSED_LOGIN: Final = re.compile(
    r"authentication failed|does not exist|no password supplied|no pg_hba.conf entry|permission denied for database"
    r"|not permitted to log in|does not support SSL|unsupported startup parameter|invalid \w+ value"
)

# What a server says in English that will soon let us in, or may.
_BUSY: Final = re.compile(r"starting up|shutting down|recovery|too many|remaining connection slots")

# The library's own errors have no severity with two blanks behind it; those of servers do, in whatever language.
_ANSWERED: Final = re.compile(r"(?:^|: )\w+:  ")

# What may be one row's fault: data exceptions, violated constraints, limits of an index's rows, exceptions of triggers.
_OF_A_ROW: Final = re.compile(r"^(22...|23...|54000|54001|P0...)$")

# Errors whose message quotes a value, which may be chunk text; those of triggers and functions may say anything.
_QUOTING: Final = re.compile(r"^(22003|22007|22008|22P02)$")
_RAISED: Final = re.compile(r"^P0...$")

_TIME_LIMITS: Final = {
    "57014": "statement_timeout",
    "25P04": "transaction_timeout",
    "25P03": "idle_in_transaction_session_timeout",
    "57P05": "idle_session_timeout",
}

_READ_ONLY: Final = (
    "the server is a replica, or the role's default_transaction_read_only is on: use the primary server and a role "
    "that may write"
)


def is_refused_login(error: BaseException) -> bool:
    """True if the server was reached and does not let this role in, with this password or at all."""
    if not isinstance(error, psycopg.OperationalError) or error.sqlstate:
        return False
    text = str(error)
    if _REFUSED_LOGIN.search(text):
        return True
    # In another language: it has asked for the password, and then answered with an error.
    asked = error.pgconn is not None and (error.pgconn.used_password or error.pgconn.needs_password)
    return bool(asked and _ANSWERED.search(text) and not _BUSY.search(text))


def is_transient(error: BaseException) -> bool:
    """True if the failure may pass by itself."""
    if not isinstance(error, psycopg.Error):
        return False
    if error.sqlstate:
        return bool(_TRANSIENT.match(error.sqlstate))
    # Without a SQLSTATE the server did not answer at all, or not yet.
    return isinstance(error, psycopg.OperationalError) and not is_refused_login(error)


def public_message(error: psycopg.Error) -> str:
    """The primary message alone: the detail of a violated constraint would quote the row."""
    text = error.diag.message_primary or next(iter(str(error).strip().splitlines()), type(error).__name__)
    code = error.sqlstate or ""
    if _RAISED.match(code):
        return "a trigger or function of the database raised an exception"
    if _QUOTING.match(code):
        text = re.sub(r'".*"', '"…"', text, flags=re.DOTALL)
    return " ".join(text.split())


def describe_failure(
    error: psycopg.Error, *, address: str, role: str, waited_seconds: float = 0.0, lock_holder: str = ""
) -> DatabaseError:
    """The error of this package that says in one line what to do, without a row's content or the password.

    Args:
        error: what the driver raised.
        address: of the database, without the password.
        role: that was logged in; empty if unknown.
        waited_seconds: how long it was tried again.
        lock_holder: who holds the lock that was waited for, if known.
    """
    message = public_message(error)
    waited = f" for {waited_seconds:.1f} s" if waited_seconds >= 0.1 else ""
    code = error.sqlstate or ""
    if isinstance(error, (pg.InsufficientPrivilege, pg.ReadOnlySqlTransaction)):
        advice = "grant the right or use another role" if code == "42501" else _READ_ONLY
        return DatabasePermissionError(f"{address}: {message}; {advice}")
    if is_refused_login(error):
        kind = DatabasePermissionError if "permission denied" in message else DatabaseUnavailableError
        return kind(f"{address} refused the login: {message}; {_login_advice(message)}")
    if isinstance(error, pg.LockNotAvailable):
        holder = f"held by {lock_holder}" if lock_holder else "of another session, which has ended or is not visible"
        return DatabaseError(
            f"{address}: a lock on the table was waited for in vain{waited} ({message}): {holder}; run again when that "
            "transaction has ended"
        )
    if is_transient(error) and code not in ("25P03", "40001", "40P01", "57P05"):
        back = f"did not come back{waited}" if waited else "is not back"
        return DatabaseUnavailableError(
            f"{address} cannot be reached, or was lost and {back}: {message}; "
            "check that the server runs and what EMBEDDING_DATABASE_URL says"
        )
    refusal = RowRefusedError if _OF_A_ROW.match(code) else DatabaseError
    return refusal(f"{address}: {message} (SQLSTATE {error.sqlstate}){_advice(code, message, waited, role)}")


def _advice(code: str, message: str, waited: str, role: str) -> str:
    if _CONFLICTS.match(code):
        return f", at each attempt{waited}; run again when less writes to the table at once"
    if code in _TIME_LIMITS and "user request" not in message:
        setting = _TIME_LIMITS[code]
        name = sql.Identifier(role).as_string(None) if role else "…"
        return f"; if it ran into the role's {setting}, raise that: ALTER ROLE {name} SET {setting} = '10min'"
    return ""


def _login_advice(message: str) -> str:
    if "unsupported startup parameter" in message:
        return (
            "a pooler takes no server options: remove options= from EMBEDDING_DATABASE_URL and unset PGOPTIONS "
            "(ALTER ROLE … SET … does the same), or connect to the server itself"
        )
    return "check what EMBEDDING_DATABASE_URL says"
