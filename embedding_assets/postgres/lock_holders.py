"""Who holds a lock that was waited for in vain."""

from __future__ import annotations

from typing import Any

import psycopg


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
    pid, application, role, state, seconds = row
    known = [
        application or "",
        f"role {role}" if role else "",
        state or "",
        "" if seconds is None else f"in its transaction for {float(seconds):.0f} s",
    ]
    words = ", ".join(word for word in known if word)
    return f"pid {pid}{f' ({words})' if words else ''}"
