"""Runs whenever something is due, and what is waited for."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from embedding_assets import errors
from embedding_assets.config import Settings
from embedding_assets.errors import DatabaseUnavailableError, ProviderUnavailableError
from embedding_assets.pipeline.readiness import check_readiness
from embedding_assets.pipeline.run import RunOutcome
from embedding_assets.pipeline.watching import LOOK_SECONDS, Obstacle, Watch
from embedding_assets.planning import PrefixRange
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.locks import PrefixLocks
from embedding_assets.postgres.spaces import register_space
from embedding_assets.providers.base import EmbeddedBatch
from embedding_assets.providers.space_selection import Selection
from embedding_assets_tests.support.fakes import FAKE_SPACE, FakeProvider, hash_of, insert_chunks

EVERYTHING = PrefixRange("0", "f")


class StoppedError(Exception):
    """Ends a watch."""


class Clock:
    """Waits no time, does something at some looks, and stops in the end."""

    def __init__(self, *steps: object) -> None:
        self.pauses: list[float] = []
        self._steps = iter(steps)

    def __call__(self, seconds: float) -> None:
        self.pauses.append(seconds)
        step = next(self._steps, StoppedError)
        if step is StoppedError:
            raise StoppedError
        if callable(step):
            step()


@pytest.fixture
def provider(database: Database, monkeypatch: pytest.MonkeyPatch) -> FakeProvider:
    fake = FakeProvider()
    column = register_space(database, FAKE_SPACE)
    monkeypatch.setattr(Selection, "open_provider", lambda _: fake)
    monkeypatch.setattr(
        "embedding_assets.pipeline.watching.select_for_run", lambda *given: Selection(given[0], column, given[1])
    )
    for module in ("readiness", "watching"):
        monkeypatch.setattr(f"embedding_assets.pipeline.{module}.find_for_run", lambda given, _: (given, column))
    return fake


def watched(watch: Watch) -> Iterator[RunOutcome | Obstacle]:
    with pytest.raises(StoppedError):
        yield from watch


def counts(results: Iterator[RunOutcome | Obstacle]) -> list[int | str]:
    return [r.stats.embedded if isinstance(r, RunOutcome) else r.reason for r in results]


@pytest.mark.usefixtures("provider")
def test_what_comes_is_embedded(settings: Settings, database: Database):
    insert_chunks(database, ["there before"])
    clock = Clock(None, None, lambda: insert_chunks(database, ["one", "two"]), None)
    assert counts(watched(Watch(settings, database, EVERYTHING, wait=clock))) == [1, 2]
    assert clock.pauses == [LOOK_SECONDS] * 5


@pytest.mark.usefixtures("provider")
def test_of_a_range_alone(settings: Settings, database: Database):
    words = [f"text {number}" for number in range(60)]
    insert_chunks(database, words)
    for prefixes in (PrefixRange("0", "3"), PrefixRange("4a", "9c")):
        within = [word for word in words if int(hash_of(word)[:2], 16) in prefixes.buckets]
        watch = Watch(settings, database, prefixes, wait=Clock(None))
        assert counts(watched(watch)) == [len(within)]


def test_an_outage_is_said_once_and_waited_for_ever_longer(
    settings: Settings, database: Database, provider: FakeProvider
):
    def fail(_: list[str], batch: EmbeddedBatch) -> EmbeddedBatch:
        raise ProviderUnavailableError("the server is down")

    insert_chunks(database, ["one"])
    provider._spoil = fail
    clock = Clock(None, None, lambda: setattr(provider, "_spoil", None), None)
    said, embedded = counts(watched(Watch(settings, database, EVERYTHING, wait=clock)))
    assert said == "the server is down 1 of 1 due chunks are left."
    assert embedded == 1
    assert clock.pauses == [2 * LOOK_SECONDS, 4 * LOOK_SECONDS, 8 * LOOK_SECONDS, LOOK_SECONDS, LOOK_SECONDS]


@pytest.mark.usefixtures("provider")
def test_a_database_that_is_away_is_waited_for(settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch):
    insert_chunks(database, ["one"])

    def away(*_: object) -> None:
        raise DatabaseUnavailableError("no connection")

    def back() -> None:
        monkeypatch.setattr("embedding_assets.pipeline.watching.check_readiness", check_readiness)

    monkeypatch.setattr("embedding_assets.pipeline.watching.check_readiness", away)
    assert counts(watched(Watch(settings, database, EVERYTHING, wait=Clock(None, None, back)))) == ["no connection", 1]


@pytest.mark.usefixtures("provider")
def test_what_another_run_holds_is_no_reason_to_hurry(settings: Settings, database: Database):
    insert_chunks(database, ["one"])
    clock = Clock(None, None)
    with closing(PrefixLocks(database, FAKE_SPACE.name)) as locks:
        locks.acquire(EVERYTHING.buckets)
        results = list(watched(Watch(settings, database, EVERYTHING, wait=clock)))
    assert [r.stats.embedded for r in results if isinstance(r, RunOutcome)] == [0, 0, 0]
    assert clock.pauses == [2 * LOOK_SECONDS, 4 * LOOK_SECONDS, 8 * LOOK_SECONDS]


@pytest.mark.usefixtures("provider")
def test_what_waiting_does_not_remove_ends_it(settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise errors.ConfigurationError("no such model")

    monkeypatch.setattr("embedding_assets.pipeline.watching.check_readiness", refuse)
    with pytest.raises(errors.ConfigurationError, match="no such model"):
        list(Watch(settings, database, EVERYTHING, wait=Clock()))
