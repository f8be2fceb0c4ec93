"""Real daemons, with homes of their own in SQLite: rows are embedded by themselves, and once."""

import pytest
from dagster import DagsterRunStatus

from embedding_assets_tests.support.daemons import daemon
from embedding_assets_tests.support.fakes import insert_chunks
from embedding_assets_tests.support.generator_runs import texts
from embedding_assets_tests.support.tiny_model import DIMENSIONS, save_tiny_model
from embedding_assets_tests.support.waiting import wait_until
from fake_api.server import ApiServer

pytestmark = pytest.mark.uncovered

CHUNKS = 40

IN_PROGRESS = "runs for all of them are in progress"
FIRST_LOAD = "a run is loading space"
HELD = "are held by another run and left to it"


@pytest.fixture
def tiny(settings, tmp_path, monkeypatch):
    """A model that is loaded at once."""
    monkeypatch.setenv("EMBEDDING_MODEL_NAME", str(save_tiny_model(tmp_path / "tiny")))
    monkeypatch.setenv("EMBEDDING_DIMENSIONS", str(DIMENSIONS))


@pytest.fixture
def slow(settings, monkeypatch):
    """An API that takes its time for each text, so that a load lasts for several ticks."""
    with ApiServer(latency_seconds=0.3) as server:
        for name, value in {
            "PROVIDER": "openai", "OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": server.api_key,
            "OPENAI_DIMENSIONS": "8", "OPENAI_MAX_INPUTS": "1", "OPENAI_CONCURRENCY": "1",
        }.items():  # fmt: skip
            monkeypatch.setenv(f"EMBEDDING_{name}", value)
        yield server


def pending(beside):
    [column] = beside.execute("SELECT column_name FROM embedding_spaces").fetchone() or [None]
    if column is None:
        return True
    return beside.execute(f"SELECT count(*) FROM knowledge_base WHERE {column} IS NULL").fetchone()[0]


def is_over(home):
    return all(run.is_finished for run in home.instance.get_runs())


@pytest.mark.usefixtures("tiny")
def test_a_row_gets_its_vector_without_anybody(database, beside, tmp_path):
    with daemon(tmp_path / "theirs") as theirs:
        wait_until(theirs.skipped, "the first tick")
        insert_chunks(database, ["a row that somebody writes"])
        wait_until(lambda: not pending(beside), "its vector")
        wait_until(lambda: is_over(theirs), "the end of the run")
        [run] = theirs.instance.get_runs()
        assert run.status is DagsterRunStatus.SUCCESS
        assert run.tags["dagster/sensor_name"] == "shop__new_chunks_sensor"
        theirs.stop()
        assert theirs.end() == 0


def test_two_homes_on_one_table_embed_each_row_once(database, beside, slow, tmp_path):
    with daemon(tmp_path / "one") as one, daemon(tmp_path / "other") as other:
        wait_until(lambda: one.skipped() and other.skipped(), "the first tick of both")
        beside.execute("CREATE TABLE written (chunk_hash text)")
        beside.execute(
            "CREATE FUNCTION note_write() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "INSERT INTO written VALUES (NEW.chunk_hash); RETURN NEW; END $$"
        )
        beside.execute(
            "CREATE TRIGGER note_write AFTER UPDATE ON knowledge_base FOR EACH ROW EXECUTE FUNCTION note_write()"
        )
        insert_chunks(database, texts(CHUNKS))
        wait_until(lambda: not pending(beside), "all vectors")
        wait_until(lambda: is_over(one) and is_over(other), "the end of all runs")
        count = beside.execute("SELECT count(*), count(DISTINCT chunk_hash) FROM written").fetchone()
        assert count == (CHUNKS, CHUNKS)
        assert set(slow.seen.values()) == {1}
        # Whichever came second saw at its tick, or at the beginning of its run, what the first one held.
        assert any(passes_over(home) for home in (one, other))
        assert {run.status for home in (one, other) for run in home.instance.get_runs()} == {DagsterRunStatus.SUCCESS}
        one.stop()
        other.stop()
        assert (one.end(), other.end()) == (0, 0)


def passes_over(home):
    if home.instance.get_runs():
        return any(HELD in line for line in home.said())
    return any(IN_PROGRESS in reason or FIRST_LOAD in reason for reason in home.skipped())
