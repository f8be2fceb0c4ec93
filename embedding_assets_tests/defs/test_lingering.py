"""Ticks that linger until chunks are due, where Dagster's daemon has threads for that."""

import threading
import time

import pytest
from dagster import DagsterInstance
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    SensorInstigatorData,
)
from dagster._core.test_utils import instance_for_test

from embedding_assets.config import get_settings
from embedding_assets.defs import lingering, sensors
from embedding_assets.defs.lingering import room_to_linger
from embedding_assets_tests.support.selecting import select_unasked
from embedding_assets_tests.support.sensor_ticks import insert, tick


@pytest.fixture
def threaded():
    """An instance whose daemon evaluates four sensors at once, as the shipped one does."""
    with DagsterInstance.ephemeral(settings={"sensors": {"use_threads": True, "num_workers": 4}}) as instance:
        yield instance


@pytest.fixture
def is_endless(monkeypatch):
    """A tick lingers until something is due, however slow this machine is."""
    monkeypatch.setattr(lingering, "LINGER_SECONDS", 120.0)


@pytest.mark.usefixtures("is_endless")
def test_a_chunk_is_found_by_the_tick_that_it_comes_in(table, threaded, monkeypatch):
    looks = 0

    def sleep(_seconds):
        nonlocal looks
        looks += 1
        if looks == 2:
            insert(table, ["7"])

    monkeypatch.setattr(lingering.time, "sleep", sleep)

    assert tick(threaded) == ["7-7"]
    assert looks == 2


def test_a_tick_without_chunks_ends(table, threaded, monkeypatch):
    monkeypatch.setattr(lingering, "LINGER_SECONDS", 0.2)
    assert tick(threaded) == "no chunk is due"


@pytest.mark.usefixtures("is_endless")
def test_what_is_due_already_is_asked_for_at_once(table, threaded, monkeypatch):
    monkeypatch.setattr(lingering.time, "sleep", None)
    insert(table, ["3"])
    assert tick(threaded) == ["3-3"]


@pytest.mark.usefixtures("is_endless")
def test_an_obstacle_is_said_at_once(table, threaded, monkeypatch):
    monkeypatch.setattr(lingering.time, "sleep", None)
    for name, value in (("PROVIDER", "openai"), ("OPENAI_API_KEY", "k"), ("OPENAI_USD_PER_MILLION_TOKENS", "1000000")):
        monkeypatch.setenv(f"EMBEDDING_{name}", value)
    select_unasked(get_settings(), table)
    insert(table, ["3"])
    monkeypatch.setenv("EMBEDDING_BUDGET_USD_PER_DAY", "1")
    assert "EMBEDDING_BUDGET_USD_PER_DAY" in tick(threaded)


@pytest.mark.usefixtures("is_endless")
def test_a_daemon_without_threads_is_not_held_up(table, instance, monkeypatch):
    monkeypatch.setattr(lingering.time, "sleep", None)
    assert tick(instance) == "no chunk is due"


@pytest.mark.usefixtures("is_endless")
def test_a_database_that_is_slow_is_looked_at_once(table, threaded, monkeypatch):
    monkeypatch.setattr(lingering.time, "sleep", None)
    monkeypatch.setattr(sensors, "_QUICK_SECONDS", 0.0)
    assert tick(threaded) == "no chunk is due"


def test_half_of_the_threads_linger_at_most(threaded):
    inside, leave = threading.Barrier(3), threading.Event()

    def stay():
        with room_to_linger(threaded, None) as has_room:
            assert has_room
            inside.wait(60)
            leave.wait(60)

    threads = [threading.Thread(target=stay) for _ in range(2)]
    for thread in threads:
        thread.start()
    inside.wait(60)
    with room_to_linger(threaded, None) as has_room:
        assert not has_room
    leave.set()
    for thread in threads:
        thread.join()
    with room_to_linger(threaded, None) as has_room:
        assert has_room


class TestSeveralCodeLocations:
    NAME = "shop__new_chunks_sensor"

    @pytest.fixture
    def instance(self):
        with instance_for_test(overrides={"sensors": {"use_threads": True, "num_workers": 4}}) as instance:
            yield instance

    @pytest.fixture
    def minute(self, monkeypatch):
        """Set what the clock says, in minutes from now on."""
        begun = time.time()

        def set_to(minute):
            monkeypatch.setattr(lingering.time, "time", lambda: begun + 60 * minute)

        set_to(0)
        lingering._known.clear()
        yield set_to
        lingering._known.clear()

    def add(self, instance, location, *, name=NAME, status=InstigatorStatus.DECLARED_IN_CODE, minutes=10):
        """A sensor as Dagster's daemon keeps it, that has ticked just now or will go on to."""
        repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(location), "repository")
        data = SensorInstigatorData(last_tick_start_timestamp=time.time() + 60 * minutes)
        origin = repository.get_instigator_origin(name)
        instance.add_instigator_state(InstigatorState(origin, InstigatorType.SENSOR, status, data))

    def lingering(self, instance, locations):
        """Those of the code locations, each of which is a process, in which a tick lingers."""
        found = []
        for location in locations:
            with room_to_linger(instance, (f"repository@{location}", self.NAME)) as has_room:
                found += [location] if has_room else []
        return found

    def test_half_of_the_threads_linger_in_all_of_them_together_and_each_in_turn(self, instance, minute):
        locations = ["a", "b", "c", "d", "e"]
        for location in locations:
            self.add(instance, location)
        seen = []
        for number in range(5):
            minute(number)
            seen.append(self.lingering(instance, locations))
        assert [len(turn) for turn in seen] == [2] * 5
        assert sorted(location for turn in seen for location in turn) == sorted(2 * locations)

    def test_where_there_are_places_for_all_none_waits_for_a_turn(self, instance, minute):
        self.add(instance, "a")
        self.add(instance, "off", status=InstigatorStatus.STOPPED)
        self.add(instance, "gone", minutes=-10)
        self.add(instance, "others", name="their_sensor")
        for number in range(3):
            minute(number)
            # The second has never ticked before.
            assert self.lingering(instance, ["a", "b"]) == ["a", "b"]
