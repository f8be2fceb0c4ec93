"""A build has progress to show, and is not harmed by those who ask."""

import threading

import psycopg
import pytest

from embedding_assets.config import DatabaseConfig, IndexConfig
from embedding_assets.logs import correlate, current_run_id
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.index import progress
from embedding_assets.postgres.index.build import build_vector_index
from embedding_assets.postgres.index.progress import BuildProgress, watch_build
from embedding_assets.postgres.interruption import stopped_by
from embedding_assets_tests.support.tables import as_role, insert_vectors, unit_vectors

CONFIG = IndexConfig(workers=0)


@pytest.fixture
def often(monkeypatch):
    """Asked, and logged, a hundred times as often."""
    monkeypatch.setattr(progress, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr(progress, "_LOG_SECONDS", 0.1)


@pytest.mark.parametrize(
    ("done", "total", "unit", "share", "text"),
    [
        (2500, 10_000, "vectors", 0.25, "i: loading, 2,500 of 10,000 vectors (25%), 12 s"),
        (0, 2, "sessions", 0.0, "i: loading, 0 of 2 sessions (0%), 12 s"),
        (7, 5, "blocks", 1.0, "i: loading, 7 of 5 blocks (100%), 12 s"),
        (0, 0, "blocks", None, "i: loading, 12 s"),
    ],
)
def test_what_is_reported(done, total, unit, share, text):
    progress = BuildProgress("i", "loading", done, total, unit, 12.3)
    assert progress.share == share
    assert str(progress) == text


@pytest.mark.usefixtures("often")
def test_a_build_is_followed_through_its_phases(database, column, beside, caplog):
    insert_vectors(database, column, unit_vectors(4000))
    seen: list[BuildProgress] = []
    waits = threading.Event()

    def follow(progress: BuildProgress) -> None:
        seen.append(progress)
        assert current_run_id() == "run-7"
        if progress.phase.startswith("waiting for writers"):
            waits.set()

    def build() -> None:
        with correlate("run-7"):
            build_vector_index(database, column, CONFIG, on_progress=follow)

    thread = threading.Thread(target=build)
    with caplog.at_level("INFO"):
        with beside.transaction():
            beside.execute("UPDATE knowledge_base SET token_count = 1 WHERE chunk_index = -1")  # a writer's lock
            thread.start()
            assert waits.wait(180)
        thread.join(120)
    assert not thread.is_alive()
    assert {progress.index for progress in seen} == {column.index}
    assert any((p.done, p.total, p.unit) == (0, 1, "sessions") for p in seen if p.phase.startswith("waiting"))
    loading = [p for p in seen if p.phase == "building index: loading tuples"]
    assert {(p.total, p.unit) for p in loading} == {(4000, "vectors")}
    assert [p.done for p in loading] == sorted(p.done for p in loading)
    assert 0 < loading[-1].done <= 4000
    assert [p.seconds for p in seen] == sorted(p.seconds for p in seen)
    entries = [entry for entry in caplog.records if entry.name == progress.__name__]
    assert 0 < len(entries) < len(seen)
    assert "of 4,000 vectors (" in caplog.text


def test_a_short_build_is_not_asked(database, column):
    insert_vectors(database, column, unit_vectors(20))
    seen: list[BuildProgress] = []
    assert build_vector_index(database, column, CONFIG, on_progress=seen.append) < 1
    assert seen == []


@pytest.mark.usefixtures("often")
def test_a_build_goes_on_when_its_progress_cannot_be_asked(database, caplog):
    gone = Database("postgresql://localhost:1/gone", DatabaseConfig(retry_seconds=0, connect_timeout_seconds=1))
    reported = threading.Event()
    with database.session() as connection, watch_build(gone, connection, "idx", 10, lambda _: None):
        for _ in range(500):
            if "the progress of idx is not shown" in caplog.text:
                reported.set()
                break
            connection.execute("SELECT pg_sleep(0.02)")
    assert reported.is_set()


@pytest.mark.usefixtures("often")
def test_a_role_that_may_not_see_the_build_sees_nothing(role, database, column, beside):
    """Another role's row is there, but empty."""
    insert_vectors(database, column, unit_vectors(20))
    seen: list[BuildProgress] = []
    with Database(as_role(database._conninfo, role), DatabaseConfig(retry_seconds=5)) as blind:
        with beside.transaction():
            beside.execute("UPDATE knowledge_base SET token_count = 1")
            thread = threading.Thread(target=build_vector_index, args=(database, column, CONFIG))
            thread.start()
            query = "SELECT pid FROM pg_stat_progress_create_index WHERE datname = current_database()"
            with database.session() as asking:
                while not (rows := asking.execute(query).fetchall()):
                    pass
            with blind.session() as asking:
                assert progress._read(asking, rows[0][0], "idx", 20, 1.0) is None
            with database.session() as asking:
                assert progress._read(asking, rows[0][0], "idx", 20, 1.0).phase.startswith("waiting")
        thread.join(180)
    assert seen == []


@pytest.mark.usefixtures("often")
def test_what_stops_the_work_ends_the_build(database):
    class Stopped(BaseException):
        pass

    def stop() -> None:
        raise Stopped

    with (
        database.session() as connection,
        stopped_by(stop),
        pytest.raises(Stopped),
        watch_build(database, connection, "idx", 1),
    ):
        connection.execute("SELECT pg_sleep(600)")


@pytest.mark.usefixtures("often")
def test_a_build_that_another_cancels_is_an_error_as_before(database, beside):
    with database.session() as connection:
        cancel = f"SELECT pg_cancel_backend({connection.info.backend_pid})"
        threading.Timer(0.5, lambda: beside.execute(cancel)).start()
        with pytest.raises(psycopg.errors.QueryCanceled), watch_build(database, connection, "idx", 1):
            connection.execute("SELECT pg_sleep(600)")
