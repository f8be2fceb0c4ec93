"""Turns: processes that would get in each other's way go one after another."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Database

__all__ = ["take_turn"]

_POLL_SECONDS: Final = 0.5
_REMIND_SECONDS: Final = 60.0


@contextmanager
def take_turn(database: Database, name: str, *, on_wait: Callable[[], None]) -> Iterator[None]:
    """Wait until no other process has the turn ``name``; keep it until the end of the block.

    A session lock on a connection of its own, so it ends with the process, however that ends.

    Args:
        database: where all who share the turn meet.
        name: of the turn.
        on_wait: called when it has to wait, and again every minute.
    """
    reminded = -_REMIND_SECONDS
    with database.session() as connection:
        query = "SELECT pg_try_advisory_lock(hashtextextended('embedding_assets turn ' || %s, 0))"
        while connection.execute(query, [name]).fetchone() != (True,):
            if time.monotonic() - reminded >= _REMIND_SECONDS:
                reminded = time.monotonic()
                on_wait()
            time.sleep(_POLL_SECONDS)
        yield
