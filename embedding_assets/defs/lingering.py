"""A sensor's tick that lingers until chunks are due: they are found sooner than by the next tick."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from embedding_assets.pipeline.readiness import check_readiness
from embedding_assets.planning import all_prefixes

if TYPE_CHECKING:
    from dagster import DagsterInstance

    from embedding_assets.config import Settings
    from embedding_assets.postgres.connection import Database

LINGER_SECONDS: Final = 3.0
"""Of the five between two ticks: a chunk that comes after them waits for two at most."""

LOOK_SECONDS: Final = 0.5
"""Between two looks, each some milliseconds of the database's time."""

_DEFAULT_WORKERS: Final = 4

_places_lock: Final = threading.Lock()
_taken_by: Final[set[int]] = set()
"""Threads of this process that linger."""


@contextmanager
def room_to_linger(instance: DagsterInstance) -> Iterator[bool]:
    """Whether a tick may linger, which then counts as lingering within the context.

    Only where Dagster's daemon evaluates sensors in threads, and, of each code location, in one half of these at most.

    Args:
        instance: whose daemon asked for the tick.
    """
    settings = instance.get_settings("sensors") or {}
    places = settings.get("num_workers", _DEFAULT_WORKERS) // 2 if settings.get("use_threads") else 0
    thread = threading.get_ident()
    with _places_lock:
        has_room = len(_taken_by) < places
        if has_room:
            _taken_by.add(thread)
    try:
        yield has_room
    finally:
        if has_room:
            with _places_lock:
                _taken_by.remove(thread)


def linger(database: Database, settings: Settings) -> bool:
    """Wait until chunks are due, or something keeps them from being embedded; False if the time was over first.

    Raises:
        ConfigurationError: the settings do not lead to the table's model, or a dollar limit needs a price.
    """
    prefixes = all_prefixes(settings.embedding.prefix_length)
    until = time.monotonic() + LINGER_SECONDS
    while time.monotonic() < until:
        time.sleep(LOOK_SECONDS)
        ready = check_readiness(database, settings, prefixes)
        if ready.prefixes or ready.obstacle:
            return True
    return False
