"""A sensor's tick that lingers until chunks are due: they are found sooner than by the next tick."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from dagster._core.scheduler.instigation import InstigatorType

from embedding_assets.pipeline.readiness import check_readiness
from embedding_assets.planning import all_prefixes

if TYPE_CHECKING:
    from dagster import DagsterInstance

    from embedding_assets.config import Settings
    from embedding_assets.postgres.connection import Database

_Sensor = tuple[str, str]

LINGER_SECONDS: Final = 3.0
"""Of the five between two ticks: a chunk that comes after them waits for two at most."""

LOOK_SECONDS: Final = 0.5
"""Between two looks, each some milliseconds of the database's time."""

_DEFAULT_WORKERS: Final = 4

_TURN_SECONDS: Final = 60
"""For which the same sensors may linger, where they are more than there are places for."""

_LIVES_SECONDS: Final = 120.0
"""A sensor that has not ticked for so long is no more, or is off."""

_places_lock: Final = threading.Lock()
_taken_by: Final[set[int]] = set()
"""Threads of this process that linger."""

_known: Final[dict[int, tuple[_Sensor, ...]]] = {}
"""The sensors that tick, as they were first seen in this turn."""


@contextmanager
def room_to_linger(instance: DagsterInstance, sensor: _Sensor | None) -> Iterator[bool]:
    """Whether a tick may linger, which then counts as lingering within the context.

    Only where Dagster's daemon evaluates sensors in threads, and in one half of these at most: of this process exactly,
    of all code locations but for the change of turns.

    Args:
        instance: whose daemon asked for the tick.
        sensor: that ticks: the label of its code location, and its name; None where that is not known.
    """
    settings = instance.get_settings("sensors") or {}
    places = settings.get("num_workers", _DEFAULT_WORKERS) // 2 if settings.get("use_threads") else 0
    thread = threading.get_ident()
    has_turn = places > 0 and (sensor is None or _has_turn(instance, sensor, places))
    with _places_lock:
        has_room = has_turn and len(_taken_by) < places
        if has_room:
            _taken_by.add(thread)
    try:
        yield has_room
    finally:
        if has_room:
            with _places_lock:
                _taken_by.remove(thread)


def _has_turn(instance: DagsterInstance, sensor: _Sensor, places: int) -> bool:
    """Whether a sensor is among those that may linger now.

    Code locations are processes of their own, maybe on several machines. Each finds the same by the clock, so that none
    has to note anything, or to wait.
    """
    turn = int(time.time() / _TURN_SECONDS)
    seen = _known.get(turn)
    if seen is None:
        seen = tuple(_ticking(instance, sensor[1].rpartition("__")[2]))
        _known.clear()
        _known[turn] = seen
    sensors = sorted({*seen, sensor})
    return (sensors.index(sensor) - turn * places) % len(sensors) < places


def _ticking(instance: DagsterInstance, name: str) -> Iterator[_Sensor]:
    """The sensors on new chunks of all tables of the instance, but for those that are off."""
    since = time.time() - _LIVES_SECONDS
    for state in instance.all_instigator_state(instigator_type=InstigatorType.SENSOR):
        data = state.sensor_instigator_data
        is_alike = state.instigator_name.rpartition("__")[2] == name
        if is_alike and state.is_running and data and (data.last_tick_start_timestamp or 0) > since:
            yield state.origin.repository_origin.get_label(), state.instigator_name


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
