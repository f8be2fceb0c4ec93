"""Until when a run that was cancelled is held."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from dagster import AssetSelection, DagsterRunStatus, Definitions, asset, define_asset_job
from dagster._core.test_utils import freeze_time

from embedding_assets.defs.factory import build_embedding_definitions
from embedding_assets.postgres.spaces import list_spaces
from embedding_assets_tests.support.sensor_ticks import add_run, insert, tick


def test_edits_are_embedded_once_what_a_cancelled_run_left_was_embedded_without_a_run(table, instance):
    """As the command line does it."""
    insert(table, ["3", "4"])
    instance.report_run_canceled(add_run(instance, "0", "f"))
    cursor = []
    assert "cancelled" in tick(instance, cursor=cursor)
    [space] = list_spaces(table)
    vector = str([0.5] * space.space.dimensions)
    table.run(lambda c: c.execute(f"UPDATE knowledge_base SET {space.name} = %s::vector", [vector]))
    assert tick(instance, cursor=cursor) == "no chunk is due"
    table.run(lambda c: c.execute("UPDATE knowledge_base SET chunk_text = 'y' WHERE chunk_hash LIKE '3%'"))
    assert tick(instance, cursor=cursor) == ["3-3"]


def test_it_is_held_until_rows_come_also_where_the_server_begins_to_count_again(table, instance):
    insert(table, ["3"])
    instance.report_run_canceled(add_run(instance, "0", "f"))
    cursor = []
    tick(instance, cursor=cursor)
    kept = json.loads(cursor[-1])
    kept["cancelled"] |= {"inserts": 1_000_000}
    cursor.append(json.dumps(kept))
    assert "cancelled" in tick(instance, cursor=cursor)
    assert json.loads(cursor[-1])["cancelled"]["inserts"] <= 1


@pytest.mark.parametrize("cancelled", [0, 1])
def test_of_several_that_were_asked_for_together_one_is_cancelled(table, instance, cancelled):
    """Whichever: the other ones, which end later, and one that is started again, are no reason to go on."""
    insert(table, ["3"])
    runs = [add_run(instance, *prefixes, asked=True) for prefixes in (("0", "7"), ("8", "f"))]
    other = runs[1 - cancelled]
    now = datetime.now(UTC)
    with freeze_time(now + timedelta(minutes=1)):
        instance.report_run_canceled(runs[cancelled])
    with freeze_time(now + timedelta(minutes=2)):
        instance.report_run_failed(other)
        cursor = []
        assert "was cancelled" in tick(instance, cursor=cursor)
        add_run(instance, "0", "f", asked=True, status=DagsterRunStatus.SUCCESS, retry_of=other)
        assert "was cancelled" in tick(instance, cursor=cursor)
        insert(table, ["4"])
        assert tick(instance, cursor=cursor) == ["3-4"]
        add_run(instance, "0", "f", status=DagsterRunStatus.SUCCESS)
        assert tick(instance) == ["3-4"], "a person asked for it"


def test_rows_that_come_after_a_cancelled_run_that_left_nothing_are_asked_for_at_once(table, instance):
    """As one that is cancelled while it builds the index."""
    cursor = []
    run = add_run(instance, "0", "f")
    assert tick(instance, cursor=cursor) == "no chunk is due"
    instance.report_run_canceled(run)
    assert tick(instance, cursor=cursor) == "no chunk is due"
    insert(table, ["3"])
    assert tick(instance, cursor=cursor) == ["3-3"]


@pytest.fixture
def own_job(instance):
    """Makes a run of the whole of a project's own job over our assets, as one is launched in the UI."""
    job = define_asset_job("everything", AssetSelection.assets("theirs", "chunk_embeddings"))

    @asset
    def theirs() -> None:
        """Of the project."""

    defs = Definitions.merge(build_embedding_definitions(), Definitions([theirs], jobs=[job]))
    snapshot = defs.resolve_job_def("everything").get_job_snapshot()
    return lambda **options: add_run(instance, job="everything", snapshot=snapshot, **options)


def test_a_cancelled_run_of_a_job_of_ones_own_is_held_too(table, instance, own_job):
    insert(table, ["3"])
    run = own_job()
    assert "runs for all of them are in progress" in tick(instance)
    instance.report_run_canceled(run)
    cursor = []
    assert f"run {run.run_id[:8]} was cancelled" in tick(instance, cursor=cursor)
    insert(table, ["4"])
    assert tick(instance, cursor=cursor) == ["3-4"]
    own_job(status=DagsterRunStatus.SUCCESS)
    assert tick(instance) == ["3-4"], "a person asked for it"


def test_a_cancelled_run_of_a_job_over_assets_of_others_holds_nothing(table, instance):
    @asset
    def theirs() -> None:
        """Of the project."""

    defs = Definitions([theirs], jobs=[define_asset_job("everything", [theirs])])
    insert(table, ["3"])
    snapshot = defs.resolve_job_def("everything").get_job_snapshot()
    instance.report_run_canceled(add_run(instance, job="everything", snapshot=snapshot))
    assert tick(instance) == ["3-3"]
