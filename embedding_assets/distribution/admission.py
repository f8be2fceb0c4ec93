"""What must hold before a cluster begins to embed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from embedding_assets.errors import ClusterError, ConfigurationError
from embedding_assets.postgres.capacity import room_for_connections

if TYPE_CHECKING:
    from embedding_assets.distribution.worker import Place
    from embedding_assets.postgres.connection import Database

POOL_SIZE: Final = 2
"""Of a worker, unless it is configured: one connection fetches while the other writes."""

_BESIDES: Final = 2
"""One that holds its locks, and one for a moment: while a pool is opened, or the outcome of a commit asked for."""


def check_connections(database: Database, workers: int, pool_size: int) -> None:
    """Make sure that all workers can open the connections they need.

    Raises:
        ClusterError: they cannot; the message says how many workers can.
    """
    each = pool_size + _BESIDES
    room = room_for_connections(database)
    if workers * each > room.left:
        fit = room.left // each
        advice = f"use at most {fit} (--workers, EMBEDDING_RAY_WORKERS)" if fit else "close some"
        kept = f", {room.reserved} reserved" if room.reserved else ""
        raise ClusterError(
            f"{workers} workers need up to {workers * each} database connections, {each} each, and {room.left} are "
            f"left ({room.limit} is {room.most}{kept}, {room.used} open); {advice}, or raise that limit"
        )


def check_place(place: Place, driver: Place) -> None:
    """Make sure that a worker has what the driver has.

    Raises:
        ConfigurationError: versions differ.
    """
    if place.package != driver.package:
        raise ConfigurationError(
            f"node {place.node} has embedding-assets {place.package}, and the run was started with {driver.package}; "
            f"install the same on all: pip install 'embedding-assets[ray]=={driver.package}'"
        )
    if place.python != driver.python:
        raise ConfigurationError(
            f"node {place.node} has Python {place.python}, and the run was started with {driver.python}; use the same "
            "on all"
        )
