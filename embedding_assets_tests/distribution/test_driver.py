"""The driver's decisions, with workers that answer what a test says."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import pytest

from embedding_assets.config import Settings
from embedding_assets.distribution import driver as module
from embedding_assets.distribution.cluster import WorkerLost
from embedding_assets.distribution.driver import MOST_DEATHS, Driver
from embedding_assets.distribution.layout import Layout
from embedding_assets.distribution.portable import PortableSettings
from embedding_assets.distribution.ranges import plan_ranges
from embedding_assets.distribution.worker import Order, Outcome, Place, Worker
from embedding_assets.errors import ClusterError, ConfigurationError
from embedding_assets.models import EmbeddingStats
from embedding_assets.pipeline.run import Load
from embedding_assets.planning import PrefixRange
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.locks import PrefixLocks
from embedding_assets.postgres.spaces import register_space
from embedding_assets.providers.space_selection import Selection
from embedding_assets_tests.support.fakes import FAKE_SPACE, insert_chunks
from embedding_assets_tests.support.generator_runs import texts


class Crew:
    """Workers that answer what ``answers`` makes of a method; None: they do not answer."""

    def __init__(self, answers: Callable[[int, str], object]) -> None:
        self.answers = answers
        self.hired = 0
        self.dismissed: list[int] = []

    def hire(self, order: Order, layout: Layout) -> "Member":
        self.hired += 1
        return Member(self, self.hired)


class Member:
    def __init__(self, crew: Crew, number: int) -> None:
        self.crew, self.number = crew, number

    def ask(self, method: str, *arguments: object, answer: Callable[[object], object]) -> None:
        answered = self.crew.answers(self.number, method)
        if answered is not None:
            answer(answered)

    def dismiss(self) -> None:
        self.crew.dismissed.append(self.number)


@pytest.fixture
def drive(settings: Settings, database: Database) -> Callable[..., Driver]:
    column = register_space(database, FAKE_SPACE)
    insert_chunks(database, texts(200))

    def drive(crew: Crew, workers: int = 2) -> Driver:
        load = Load(settings, database, Selection(settings, column, database), PrefixRange("0", "f"), 200, None, None)
        portable = PortableSettings.of(settings)
        order = Order("run", "mark", portable, portable, column, database.table.oid, 1, 2, "")
        return Driver(load, crew, Layout(workers, 1, 0), order, lambda _: None)

    return drive


def healthy(method: str) -> object:
    return {"place": Place.here(), "prepare": Outcome(), "close": 0}.get(method)


def test_workers_that_never_live_end_the_run(drive: Callable[..., Driver]):
    crew = Crew(lambda *_: WorkerLost("out of memory"))
    with pytest.raises(ClusterError, match=f"{MOST_DEATHS} workers died one after the other.*out of memory"):
        drive(crew, 1).execute()
    assert crew.hired == MOST_DEATHS
    assert sorted(set(crew.dismissed)) == list(range(1, MOST_DEATHS + 1))


def test_a_range_that_kills_its_workers_ends_the_run(drive: Callable[..., Driver], caplog: pytest.LogCaptureFixture):
    crew = Crew(lambda _, method: WorkerLost("signal 11") if method == "embed" else healthy(method))
    with pytest.raises(ClusterError, match="signal 11"):
        drive(crew, 1).execute()
    assert crew.hired == MOST_DEATHS
    assert sum("is embedded by another" in message for message in caplog.messages) == MOST_DEATHS


def test_a_range_whose_worker_died_goes_to_another(drive: Callable[..., Driver]):
    asked: list[int] = []

    def answers(number: int, method: str) -> object:
        if method == "embed":
            asked.append(number)
            return WorkerLost("killed") if number == 1 else Outcome()
        return healthy(method)

    crew = Crew(answers)
    drive(crew, 1).execute()
    assert asked[0] == 1
    assert set(asked[1:]) == {2}
    assert sorted(set(crew.dismissed)) == [1, 2]


@pytest.mark.parametrize(("space", "rounds"), [(FAKE_SPACE.name, 2), ("of the fallback", 1)])
def test_what_another_run_held_is_handed_out_again_where_it_is_free(
    drive: Callable[..., Driver], space: str, rounds: int
):
    """But not for what is held in the fallback's space alone."""
    asked: list[int] = []

    def answers(_: int, method: str) -> object:
        if method != "embed":
            return healthy(method)
        asked.append(1)
        busy = ["0"] if len(asked) <= ranges else []
        return Outcome([EmbeddingStats(space=space, embedded=2, busy_prefixes=busy)])

    driver = drive(Crew(answers))
    ranges = len(plan_ranges(dict.fromkeys(range(256), 1), 2, most_chunks=2048))
    driver.execute()
    assert len(asked) >= rounds * (ranges - 1)
    assert len(asked) <= rounds * (ranges + 1)
    assert driver.ledger.busy == set()
    assert sum(part.embedded for part in driver.ledger.parts) == 2 * len(asked)


def test_what_another_run_holds_in_the_end_is_left_to_it(drive: Callable[..., Driver], database: Database):
    with closing(PrefixLocks(database, FAKE_SPACE.name)) as locks:
        locks.acquire(range(16))
        stats = EmbeddingStats(space=FAKE_SPACE.name, busy_prefixes=["0"])
        driver = drive(Crew(lambda _, method: Outcome([stats]) if method == "embed" else healthy(method)), 1)
        driver._load = replace(driver._load, prefixes=PrefixRange("0", "0"))
        driver.execute()
    assert driver.ledger.busy == {"0"}


def test_a_node_without_the_package_is_an_error_that_says_what_to_install(drive: Callable[..., Driver]):
    with pytest.raises(ConfigurationError, match=r"pip install 'embedding-assets\[ray\]=="):
        drive(Crew(lambda *_: WorkerLost("failed to import", lacks_package=True))).execute()


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (Place("node7", Place.here().python, "9.9"), "node node7 has embedding-assets 9.9"),
        (Place("node7", "3.9", Place.here().package), "node node7 has Python 3.9"),
    ],
)
def test_other_versions_are_refused(drive: Callable[..., Driver], place: Place, said: str):
    crew = Crew(lambda _, method: place if method == "place" else None)
    with pytest.raises(ConfigurationError, match=said):
        drive(crew).execute()
    assert crew.dismissed


def test_workers_that_get_no_room_are_not_waited_for_without_end(
    drive: Callable[..., Driver], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "START_SECONDS", 0.05)
    monkeypatch.setattr(module, "_TICK_SECONDS", 0.02)
    with pytest.raises(ClusterError, match="no worker of 1 CPUs and 0 GPUs could start"):
        drive(Crew(lambda *_: None)).execute()


def test_without_room_for_those_who_died_the_run_ends(drive: Callable[..., Driver], monkeypatch: pytest.MonkeyPatch):
    """As when the last machine of a cluster is gone."""
    monkeypatch.setattr(module, "START_SECONDS", 0.05)
    monkeypatch.setattr(module, "_TICK_SECONDS", 0.02)

    def answers(number: int, method: str) -> object:
        if number > 1:
            return None
        return WorkerLost("its node died") if method == "embed" else healthy(method)

    with pytest.raises(ClusterError, match="no worker of 1 CPUs and 0 GPUs could start"):
        drive(Crew(answers), 1).execute()


def test_too_few_connections_are_an_error_before_anything_starts(
    drive: Callable[..., Driver], beside, database_url: str
):
    [name] = beside.execute("SELECT current_database()").fetchone()
    beside.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 9")
    crew = Crew(lambda _, method: healthy(method))
    with pytest.raises(ClusterError) as refused:
        drive(crew, 2).execute()
    assert "2 workers need up to 8 database connections, 4 each" in str(refused.value)
    assert "the CONNECTION LIMIT of the database is 9" in str(refused.value)
    assert "use at most 1 (--workers" in str(refused.value)
    assert crew.hired == 0


def test_an_unexpected_error_of_a_worker_says_where_and_nothing_of_a_text(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
):
    for name in ("EMBEDDING_THREADS", "OMP_NUM_THREADS", "RAYON_NUM_THREADS"):
        monkeypatch.setenv(name, "1")  # as the worker does for its process
    portable = PortableSettings.of(settings)
    column = register_space(database, FAKE_SPACE)
    worker = Worker(Order("run", "mark", portable, portable, column, database.table.oid, 1, 2, ""))

    def broken(*_: object) -> float:
        raise TypeError("a secret text")

    worker._embed = broken
    outcome = worker.embed(0, 255)
    assert isinstance(outcome.error, ClusterError)
    assert "builtins.TypeError at" in str(outcome.error)
    assert "in broken" in str(outcome.error)
    assert "secret" not in str(outcome.error)
