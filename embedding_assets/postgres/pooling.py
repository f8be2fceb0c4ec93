"""Poolers between us and the server: whether they keep a session to its client, on which locks and settings rely."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import closing
from typing import Any, Final

import psycopg

_SET: Final = "SELECT set_config('embedding_assets.session', %s, false)"
_READ: Final = "SELECT current_setting('embedding_assets.session', true)"

_ROUNDS: Final = 3
"""Other clients of the pooler may have taken the server's session in between."""

ADVICE: Final = (
    "EMBEDDING_DATABASE_URL leads to a pooler in transaction mode, where locks and settings of a session are lost or "
    "become another client's; use the server's own address or a port in session mode (PgBouncer: "
    "pool_mode = session; Supabase: port 5432 instead of 6543; Neon: the host without -pooler)"
)


def shares_sessions(connection: psycopg.Connection[Any], connect: Callable[[], psycopg.Connection[Any]]) -> bool:
    """True if the server's sessions go from client to client, as with a pooler in transaction mode.

    What ``connection`` sets is then gone at its next statement, or is there for another client.

    Args:
        connection: in autocommit mode.
        connect: opens another of that kind.
    """
    with closing(connect()) as other:
        try:
            for _ in range(_ROUNDS):
                marker = uuid.uuid4().hex
                connection.execute(_SET, [marker], prepare=False)
                if connection.execute(_READ, prepare=False).fetchone() != (marker,):
                    return True
                if other.execute(_READ, prepare=False).fetchone() == (marker,):
                    return True
            return False
        finally:
            connection.execute(_SET, [""], prepare=False)
