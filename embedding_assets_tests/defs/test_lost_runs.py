"""What a killed run has completed, and could not say."""

from dagster import AssetKey, DagsterRunStatus, build_sensor_context
from dagster._core.events import DagsterEvent
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from embedding_assets.definitions import defs
from embedding_assets.defs import sensors
from embedding_assets.defs.jobs import range_tags
from embedding_assets.defs.resources import EmbeddingProviderResource, ModelResource, PostgresResource
from embedding_assets.errors import DatabaseError
from embedding_assets.planning import PrefixRange
from embedding_assets_tests.support.defined import SPEC
from embedding_assets_tests.support.sensor_ticks import insert

EMBEDDINGS = AssetKey("chunk_embeddings")


def begin(instance, *extent, embeds=True):
    """A run over a range, or over all, that has begun, and got as far as to embed if it ``embeds``."""
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("location"), "repository")
    run = instance.create_run_for_job(
        defs.resolve_job_def("embed_chunks"),
        status=DagsterRunStatus.STARTED,
        tags=range_tags(PrefixRange(*extent)) if extent else {},
        remote_job_origin=RemoteJobOrigin(repository, "embed_chunks"),
    )
    if embeds:
        started = DagsterEvent("STEP_START", "embed_chunks", step_key="chunk_embeddings")
        instance.report_dagster_event(started, run.run_id)
    return run


def tick(instance, cursor):
    """As the daemon does: what the sensor says about assets is recorded."""
    resources = {
        "embedding_database": PostgresResource(),
        "embedding_provider": EmbeddingProviderResource(model=ModelResource()),
    }
    with build_sensor_context(
        instance=instance, resources=resources, cursor=cursor[-1], repository_name="repository"
    ) as context:
        outcome = sensors.ask_for_runs(context, SPEC)
        cursor.append(context.cursor)
    for event in getattr(outcome, "asset_events", None) or []:
        instance.report_runless_asset_event(event)
    return outcome


def shown(instance):
    return sorted(instance.get_materialized_partitions(EMBEDDINGS))


def test_what_a_killed_run_has_completed_is_shown_by_the_next_tick(table, instance):
    insert(table, ["3"])
    run = begin(instance, "2", "5")
    cursor = [None]
    tick(instance, cursor)
    assert shown(instance) == []
    instance.report_run_failed(run)
    outcome = tick(instance, cursor)
    assert shown(instance) == ["2", "4", "5"]
    assert [request.tags["dagster/asset_partition_range_start"] for request in outcome.run_requests] == ["3"]
    tick(instance, cursor)
    assert len(instance.fetch_materializations(EMBEDDINGS, limit=10).records) == 3, "said once"


def test_a_killed_run_that_named_no_partition_was_over_all(table, instance):
    insert(table, ["3"])
    run = begin(instance)
    cursor = [None]
    tick(instance, cursor)
    instance.report_run_failed(run)
    tick(instance, cursor)
    assert shown(instance) == sorted({*"0123456789abcdef"} - {"3"})


def test_a_run_that_never_came_to_embed_has_completed_nothing(table, instance):
    """It was planned to complete all of them, as Dagster records before a run starts."""
    run = begin(instance, "2", "5", embeds=False)
    cursor = [None]
    tick(instance, cursor)
    instance.report_run_canceled(run)
    tick(instance, cursor)
    assert shown(instance) == []


def test_what_a_later_run_has_begun_is_for_that_to_say(table, instance):
    run = begin(instance, "2", "5")
    cursor = [None]
    tick(instance, cursor)
    begin(instance, "2", "5")
    instance.report_run_failed(run)
    tick(instance, cursor)
    assert shown(instance) == []


def test_a_database_that_does_not_answer_leaves_it_to_the_night(table, instance, monkeypatch):
    insert(table, ["3"])
    run = begin(instance, "2", "5")
    cursor = [None]
    tick(instance, cursor)
    instance.report_run_failed(run)

    def fails(*_):
        raise DatabaseError("no connection is accepted")

    monkeypatch.setattr("embedding_assets.defs.lost_runs.find_for_run", fails)
    assert len(tick(instance, cursor).run_requests) == 1
    assert shown(instance) == []
