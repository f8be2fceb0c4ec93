"""Real daemons, with homes of their own in SQLite: rows are embedded by themselves, and once."""

import pytest
from dagster import DagsterRunStatus

from embedding_assets_tests.support.daemons import daemon
from embedding_assets_tests.support.fakes import insert_chunks
from embedding_assets_tests.support.generator_runs import texts
from embedding_assets_tests.support.waiting import wait_until

pytestmark = pytest.mark.uncovered

CHUNKS = 40

IN_PROGRESS = "runs for all of them are in progress"
FIRST_LOAD = "a run is loading space"
HELD = "are held by another run and left to it"


def pending(beside):
    [column] = beside.execute("SELECT column_name FROM embedding_spaces").fetchone() or [None]
    if column is None:
        return True
    return beside.execute(f"SELECT count(*) FROM knowledge_base WHERE {column} IS NULL").fetchone()[0]


def is_over(home):
    return all(run.is_finished for run in home.instance.get_runs())


@pytest.mark.usefixtures("tiny_model")
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


def test_two_homes_on_one_table_embed_each_row_once(database, beside, slow_api, tmp_path):
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
        # Beside them each process asks once how long vectors are.
        assert {slow_api.seen[text] for text in texts(CHUNKS)} == {1}
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
