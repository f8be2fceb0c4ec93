import contextlib

import pytest
from dagster import AssetKey, DagsterExecutionInterruptedError, DagsterInstance, DagsterRunStatus
from dagster._core.test_utils import create_run_for_test

from embedding_assets.defs import run_status
from embedding_assets.defs.run_status import RunStatus
from embedding_assets.pipeline.pace import Pace
from embedding_assets.postgres.backlog import count_backlog
from embedding_assets.postgres.locks import hold
from embedding_assets.postgres.prefixes import count_pending_by_prefix
from embedding_assets.postgres.spaces import list_spaces
from embedding_assets_tests.support.fakes import insert_chunks
from embedding_assets_tests.support.generator_runs import texts
from embedding_assets_tests.support.materializing import materialize

EMBEDDINGS = AssetKey("chunk_embeddings")


class Context:
    """Of a step: what is asked of it here."""

    def __init__(self, instance, run):
        self.instance, self.run = instance, run


@pytest.fixture
def often(monkeypatch):
    """A look each time."""
    monkeypatch.setattr(run_status, "LOOK_SECONDS", 0.0)


@pytest.fixture
def home(tmp_path):
    with DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("end", ["report_run_canceling", "report_run_canceled", "report_run_failed"])
def test_a_run_that_is_over_for_dagster_ends(home, end):
    run = create_run_for_test(home, status=DagsterRunStatus.STARTED)
    check = RunStatus(Context(home, run))
    check()
    getattr(home, end)(run)
    with pytest.raises(DagsterExecutionInterruptedError):
        check()


@pytest.mark.usefixtures("often")
def test_one_that_was_deleted_ends_but_not_one_that_is_kept_nowhere(home):
    run = create_run_for_test(home, status=DagsterRunStatus.STARTED)
    check, later = RunStatus(Context(home, run)), RunStatus(Context(home, run))
    check()
    home.delete_run(run.run_id)
    with pytest.raises(DagsterExecutionInterruptedError):
        check()
    later()


@pytest.mark.usefixtures("often")
def test_a_storage_that_fails_ends_no_run(home, caplog):
    run = create_run_for_test(home, status=DagsterRunStatus.STARTED)
    check = RunStatus(Context(home, run))
    home.run_storage.get_run_by_id = lambda _: (_ for _ in ()).throw(OSError("gone"))
    home.get_run_by_id = home.run_storage.get_run_by_id
    check()
    assert "whether this run was cancelled is not known: OSError" in caplog.text


def test_it_looks_now_and_then(home):
    run = create_run_for_test(home, status=DagsterRunStatus.CANCELED)
    RunStatus(Context(home, run))()


@pytest.mark.usefixtures("often")
def test_a_cancelled_run_stops_between_two_batches_and_keeps_what_is_embedded(settings, database, home, monkeypatch):
    insert_chunks(database, texts(60))
    monkeypatch.setenv("EMBEDDING_BATCH_SIZE", "4")
    advance = Pace.__call__

    def cancel(pace, chunks):
        advance(pace, chunks)
        if chunks:
            [run] = home.get_runs()
            home.report_run_canceled(run)

    monkeypatch.setattr(Pace, "__call__", cancel)
    with pytest.raises(DagsterExecutionInterruptedError):
        materialize(home)

    [column] = list_spaces(database)
    assert 0 < count_backlog(database, column).embedded < 60
    assert home.get_runs()[0].status is DagsterRunStatus.CANCELED
    said = [entry.user_message for entry in home.all_logs(home.get_runs()[0].run_id)]
    assert "Dagster calls this run canceled, so it stops" in said
    pending = count_pending_by_prefix(database, column, 1)
    assert 0 < len(pending) < 16
    assert home.get_materialized_partitions(EMBEDDINGS) == {*"0123456789abcdef"} - {*pending}


@pytest.mark.usefixtures("often")
def test_a_cancelled_run_does_not_wait_for_its_turn(settings, database, home, monkeypatch):
    insert_chunks(database, texts(6))
    monkeypatch.setattr("embedding_assets.pipeline.run.occupied", lambda _: ("a core",))
    looks = []

    def cancel(status):
        looks.append(status)
        if len(looks) == 2:
            [run] = home.get_runs()
            home.report_run_canceled(run)
        check(status)

    check = RunStatus.__call__
    monkeypatch.setattr(RunStatus, "__call__", cancel)
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(database.session())
        stack.enter_context(hold(connection, "a core"))
        with pytest.raises(DagsterExecutionInterruptedError):
            materialize(home)
    assert home.get_runs()[0].status is DagsterRunStatus.CANCELED
