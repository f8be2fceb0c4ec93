"""Settings of a session: those that results depend on, time limits, and when the server notices a vanished client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import psycopg
from psycopg import sql

_PINNED: Final[Mapping[str, str]] = {
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "standard_conforming_strings": "on",
    "quote_all_identifiers": "off",
}
"""What a role or a database may have set otherwise, and what we read depends on. Not sent as ``options`` when
connecting, which poolers refuse."""

_SERVER_KEEPALIVES: Final[Mapping[str, str]] = {
    "tcp_keepalives_idle": "20",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "4",
    "tcp_user_timeout": "40000",
}
"""The server's side of ``url.KEEPALIVES``: after 40 s it ends the session of a machine that vanished, and its locks."""

_TIME_LIMITS: Final[Mapping[str, int]] = {
    "statement_timeout": 0,
    "lock_timeout": 0,
    "idle_in_transaction_session_timeout": 0,
    "idle_session_timeout": 140_000,
    "transaction_timeout": 170_000,
}
"""PostgreSQL's limits, and the version from which on it has them."""

_OF_TRANSACTIONS: Final = ("statement_timeout", "idle_in_transaction_session_timeout", "transaction_timeout")


def settings_for(connection: psycopg.Connection[Any], *, holds_locks: bool) -> dict[str, str]:
    """The settings of a new session by name.

    Args:
        connection: of the session.
        holds_locks: it is one for locks and for what takes long: no time limit ends it, but the end of its client does.
    """
    if not holds_locks:
        return dict(_PINNED)
    return {**_PINNED, **_SERVER_KEEPALIVES, **_lifted(connection, _TIME_LIMITS)}


def apply_settings(connection: psycopg.Connection[Any], settings: Mapping[str, str], *, through_pooler: bool) -> bool:
    """Change settings of a session in one round trip; the connection must be in autocommit mode.

    Returns:
        False: a pooler is in between, since the server's process is not the one that answered the login. Unless
        ``through_pooler`` says that its sessions are one's own, nothing was changed then.
    """
    query = sql.SQL("SELECT direct, {} FROM (SELECT pg_backend_pid() = %(pid)s AS direct) AS session").format(
        sql.SQL(", ").join(
            sql.SQL("set_config({}, {}, NOT (direct OR %(through_pooler)s))").format(name, value)
            for name, value in ((sql.Literal(name), sql.Literal(value)) for name, value in settings.items())
        )
    )
    parameters = {"pid": connection.info.backend_pid, "through_pooler": through_pooler}
    row = connection.execute(query, parameters, prepare=False).fetchone()
    return bool(row and row[0])


def lift_limits(connection: psycopg.Connection[Any]) -> None:
    """Lift the role's limits on statements and transactions until the transaction ends, in one round trip.

    ``lock_timeout`` stays: who waits for somebody's lock may be asked to come back.
    """
    lifted = _lifted(connection, _OF_TRANSACTIONS)
    query = sql.SQL("SELECT {}").format(
        sql.SQL(", ").join(
            sql.SQL("set_config({}, {}, true)").format(sql.Literal(name), sql.Literal(value))
            for name, value in lifted.items()
        )
    )
    connection.execute(query)


def _lifted(connection: psycopg.Connection[Any], names: Mapping[str, int] | tuple[str, ...]) -> dict[str, str]:
    version = connection.info.server_version
    return {name: "0" for name in names if _TIME_LIMITS[name] <= version}
