"""Who holds a lock that is waited for."""

from __future__ import annotations

import os
import platform
from typing import Any

import psycopg

from embedding_assets.logs import current_run_id


def describe_holder(connection: psycopg.Connection[Any], table: str = "knowledge_base") -> str:
    """The other session whose transaction has had a lock on ``table`` for longest, in words; empty where none has.

    Other roles' transactions have an age only for members of ``pg_read_all_stats``.
    """
    query = """
        SELECT pid, application_name, usename, state, extract(epoch FROM clock_timestamp() - xact_start)
        FROM pg_locks JOIN pg_stat_activity USING (pid)
        WHERE locktype = 'relation' AND granted AND relation = to_regclass(%s) AND pid <> pg_backend_pid()
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        ORDER BY xact_start NULLS LAST, pid LIMIT 1
    """
    row = connection.execute(query, [table], prepare=False).fetchone()
    if row is None:
        return ""
    return _in_words(*row)


def introduce(connection: psycopg.Connection[Any]) -> None:
    """Let others see by the session's name which run, and which process, holds its locks."""
    run = f" run {current_run_id()[:8]}" if current_run_id() else ""
    # 63 bytes are shown; the process comes before the machine, whose name may be longer.
    name = f"embedding_assets{run}, process {os.getpid()} on {platform.node()}"
    connection.execute("SELECT set_config('application_name', %s, false)", [name], prepare=False)


def describe_advisory_holder(connection: psycopg.Connection[Any], key: int) -> str:
    """The session that holds an advisory lock of one number, in words; empty where none does any more.

    Args:
        connection: of another session.
        key: the lock's number.
    """
    query = """
        SELECT pid, application_name, usename, NULL, extract(epoch FROM statement_timestamp() - backend_start)
        FROM pg_locks JOIN pg_stat_activity USING (pid)
        WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND pid <> pg_backend_pid()
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND (classid::bigint << 32) | objid::bigint = %s
        ORDER BY backend_start LIMIT 1
    """
    row = connection.execute(query, [key], prepare=False).fetchone()
    return "" if row is None else _in_words(*row, since="connected for")


def describe_bucket_holders(connection: psycopg.Connection[Any], space: int, table: int, *, besides: int) -> str:
    """The other sessions that hold buckets of a space, in words; empty where none does.

    Args:
        connection: to ask on.
        space: the number of the space among locks.
        table: the oid of the table.
        besides: a session that is left out.
    """
    query = """
        SELECT DISTINCT pid, application_name, usename, NULL, extract(epoch FROM statement_timestamp() - backend_start)
        FROM pg_locks JOIN pg_stat_activity USING (pid)
        WHERE locktype = 'advisory' AND granted AND objsubid = 2 AND pid <> %s
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND classid = (%s::int # hashoid(%s::oid))::oid AND objid < 256
        ORDER BY pid LIMIT 3
    """
    rows = connection.execute(query, [besides, space, table], prepare=False).fetchall()
    return "; ".join(_in_words(*row, since="connected for") for row in rows)


def _in_words(
    pid: int, application: str | None, role: str | None, state: str | None, seconds: Any, *, since: str = ""
) -> str:
    known = [
        application or "",
        f"role {role}" if role else "",
        state or "",
        "" if seconds is None else f"{since or 'in its transaction for'} {float(seconds):.0f} s",
    ]
    words = ", ".join(word for word in known if word)
    return f"pid {pid}{f' ({words})' if words else ''}"


def describe_waiting(connection: psycopg.Connection[Any], pids: list[int]) -> str:
    """What keeps sessions of this process from going on, in words; empty where nothing does.

    Args:
        connection: of another session.
        pids: of the sessions.
    """
    query = """
        SELECT pid, extract(epoch FROM clock_timestamp() - query_start), blocker FROM pg_stat_activity
        LEFT JOIN LATERAL (SELECT min(b) AS blocker FROM unnest(pg_blocking_pids(pid)) b) AS blocking ON true
        WHERE pid = ANY(%s) AND state = 'active' ORDER BY blocker NULLS LAST, query_start LIMIT 1
    """
    row = connection.execute(query, [pids], prepare=False).fetchone()
    if row is None:
        return ""
    pid, seconds, blocker = row
    if blocker is None:
        return f"a statement has been running for {float(seconds):.0f} s (pid {pid})"
    return f"a statement waits for a lock that {_describe_session(connection, blocker)} holds; end that transaction"


def _describe_session(connection: psycopg.Connection[Any], pid: int) -> str:
    query = """
        SELECT pid, application_name, usename, state, extract(epoch FROM clock_timestamp() - xact_start)
        FROM pg_stat_activity WHERE pid = %s
    """
    row = connection.execute(query, [pid], prepare=False).fetchone()
    return f"pid {pid}" if row is None else _in_words(*row)
