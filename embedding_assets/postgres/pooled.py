"""Connections of a pool: asked whether they still live where they have lain idle, and not between two questions."""

from __future__ import annotations

import time
from typing import Any, Final

import psycopg
from psycopg_pool import ConnectionPool

UNCHECKED_SECONDS: Final = 2.0
"""For so long a connection is taken to live after it was opened or used. One that does not costs a repetition."""


class PooledConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that knows since when it has been idle, by ``time.monotonic``."""

    idle_since = 0.0


def note_idle(connection: PooledConnection) -> None:
    """Say that it is new, or goes back to the pool."""
    connection.idle_since = time.monotonic()


def check_idle(connection: PooledConnection) -> None:
    """Ask the server for a sign of life, which takes a round trip, where that is due.

    Raises:
        psycopg.Error: the connection is lost.
    """
    if time.monotonic() - connection.idle_since > UNCHECKED_SECONDS:
        ConnectionPool.check_connection(connection)
