"""Set-ups that people have: a code server as a process, a home with SQLite, runs ended in every way."""

import os
import signal
from contextlib import suppress

import pytest
from dagster import AssetKey, DagsterRunStatus

from embedding_assets.postgres.locks import is_loading
from embedding_assets.postgres.spaces import list_spaces
from embedding_assets_tests.support.code_server import code_server
from embedding_assets_tests.support.fakes import insert_chunks
from embedding_assets_tests.support.generator_runs import texts
from embedding_assets_tests.support.waiting import wait_until

CHUNKS = 600


@pytest.fixture
def tiny(tiny_model, database):
    """A model that is loaded at once, and a backlog that it soon has done."""
    insert_chunks(database, texts(40))


@pytest.fixture
def slow(slow_api, database):
    """A backlog that takes minutes, one text a request."""
    insert_chunks(database, texts(CHUNKS))
    return slow_api


def embedded(database):
    columns = list_spaces(database)
    if not columns:
        return 0
    query = f"SELECT count({columns[0].name}) FROM knowledge_base"
    return database.run(lambda c: c.execute(query).fetchone())[0]


def loading(database):
    return any(is_loading(database, column.space.name) for column in list_spaces(database))


@pytest.mark.usefixtures("tiny")
def test_a_code_server_elsewhere_with_a_home_of_its_own(database, tmp_path):
    with code_server(tmp_path) as project:
        [asked] = project.tick()
        assert asked["dagster/asset_partition_range_start"] == "0"
        run = project.launch(**{"dagster/priority": "3", "team": "search"})
        assert project.end_of(run) is DagsterRunStatus.SUCCESS
        assert embedded(database) == 40
        said = project.said(run)
        assert "committed 40 vectors" in said
        assert len(said) == len(set(said)), "a line is there twice"
        record = project.instance.get_run_by_id(run)
        assert (record.tags["team"], record.tags["dagster/priority"]) == ("search", "3")
        assert project.instance.get_materialized_partitions(AssetKey(["shop", "chunk_embeddings"])) == set(
            "0123456789abcdef"
        )

        # As somebody clicks Materialize: by the project's executor, which starts a process for each step.
        insert_chunks(database, ["one more"])
        assets = ["chunks_pending", "chunk_embeddings", "pgvector_index_health"]
        run = project.launch("__ASSET_JOB", assets)
        assert project.end_of(run) is DagsterRunStatus.SUCCESS
        assert embedded(database) == 41
        assert "committed 1 vector" in project.said(run)
        events = [entry.dagster_event for entry in project.instance.all_logs(run) if entry.dagster_event is not None]
        processes = {event.pid for event in events if event.is_step_start}
        assert len(processes) == len([event for event in events if event.is_step_start]) >= 3
    left = [path.name for path in (tmp_path / "elsewhere").iterdir() if not path.name.startswith(".coverage")]
    assert left == [], "in the current folder"
    assert list((tmp_path / "home" / "history" / "runs").iterdir())


@pytest.mark.usefixtures("slow")
def test_a_terminated_run_lets_go_and_a_reload_ends_none(database, tmp_path):
    database.run(lambda c: c.execute("DELETE FROM knowledge_base WHERE chunk_hash LIKE '0%'"))
    with code_server(tmp_path) as project:
        run = project.launch()
        wait_until(lambda: embedded(database), "the first vector")
        assert "runs for all of them are in progress" in project.tick()
        project.reload()
        before = embedded(database)
        wait_until(lambda: embedded(database) > before, "a vector after the reload")
        assert project.terminate(run) == "TerminateRunSuccess"
        assert project.end_of(run) is DagsterRunStatus.CANCELED
        assert not loading(database)
        kept = embedded(database)
        assert 0 < kept < CHUNKS
        complete = project.instance.get_materialized_partitions(AssetKey(["shop", "chunk_embeddings"]))
        assert "0" in complete < set("0123456789abcdef")
        assert f"run {run[:8]} was cancelled" in project.tick()

        again = project.launch()
        wait_until(lambda: embedded(database) > kept, "the next run's first vector")
        project.terminate(again)
        assert project.end_of(again) is DagsterRunStatus.CANCELED


@pytest.mark.usefixtures("slow")
def test_a_run_whose_code_server_was_killed_stops_once_it_is_cancelled(database, tmp_path):
    with code_server(tmp_path) as project:
        run = project.launch()
        wait_until(lambda: embedded(database), "the first vector")
        worker = project.worker(run)
        project.server.kill()
        project.server.wait()
        try:
            before = embedded(database)
            wait_until(lambda: embedded(database) > before, "a vector without a code server")
            # As the daemon does, which waits for a minute in vain.
            project.instance.report_run_canceled(project.instance.get_run_by_id(run))
            wait_until(lambda: not loading(database), "the end of the worker")
            assert embedded(database) < CHUNKS
            assert "Dagster calls this run canceled, so it stops" in project.said(run)
            assert project.instance.get_run_by_id(run).status is DagsterRunStatus.CANCELED
        finally:
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)


@pytest.mark.usefixtures("slow")
def test_what_a_killed_run_has_left_is_embedded_by_its_retry(database, tmp_path):
    with code_server(tmp_path) as project:
        run = project.launch()
        wait_until(lambda: embedded(database), "the first vector")
        os.kill(project.worker(run), signal.SIGKILL)
        wait_until(lambda: not loading(database), "the end of its locks")
        kept = embedded(database)
        # As run monitoring does.
        project.instance.report_run_failed(project.instance.get_run_by_id(run))
        again = project.retry(run)
        wait_until(lambda: embedded(database) > kept, "the retry's first vector")
        project.terminate(again)
        assert project.end_of(again) is DagsterRunStatus.CANCELED
