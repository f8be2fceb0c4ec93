"""Ticks of the sensor on new chunks, and what they find."""

from dagster import AssetKey, DagsterRunStatus, SensorResult, SkipReason, build_sensor_context
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.storage.tags import RETRY_NUMBER_TAG
from dagster._core.test_utils import create_run_for_test

from embedding_assets.defs import sensors
from embedding_assets.defs.resources import EmbeddingProviderResource, ModelResource, PostgresResource
from embedding_assets_tests.support.defined import SPEC

STARTED, QUEUED = DagsterRunStatus.STARTED, DagsterRunStatus.QUEUED


def insert(database, prefixes):
    """A pending chunk under each prefix."""
    database.run(
        lambda c: c.cursor().executemany(
            "INSERT INTO knowledge_base (chunk_hash, chunk_text) VALUES (%s, 'x')",
            [[p.ljust(64, "0")] for p in prefixes],
        )
    )


def tick(instance, *, cursor=None, location=None, **configuration):
    """The ranges asked for, or the reason for asking nothing.

    Args:
        instance: of Dagster.
        cursor: a list, whose last item is the sensor's cursor, and to which the next is appended.
        location: name of the code location that ticks.
        configuration: of the provider.
    """
    resources = {
        "embedding_database": PostgresResource(),
        "embedding_provider": EmbeddingProviderResource(model=ModelResource(), **configuration),
    }
    kept = cursor[-1] if cursor else None
    with build_sensor_context(
        instance=instance, resources=resources, cursor=kept, repository_name="repository"
    ) as context:
        if location is not None:
            context._code_location_origin = RegisteredCodeLocationOrigin(location)
        outcome = sensors.ask_for_runs(context, SPEC)
        if cursor is not None:
            cursor.append(context.cursor)
    if isinstance(outcome, SkipReason):
        return outcome.skip_message
    assert isinstance(outcome, SensorResult)
    tags = [request.tags for request in outcome.run_requests if request.tags]
    if not tags:
        return [[key.to_user_string() for key in request.asset_selection] for request in outcome.run_requests]
    return [f"{t['dagster/asset_partition_range_start']}-{t['dagster/asset_partition_range_end']}" for t in tags]


def add_run(
    instance,
    first=None,
    last=None,
    *,
    status=STARTED,
    job="embed_chunks",
    assets=None,
    partition=None,
    location="location",
    asked=False,
    retry_of=None,
    snapshot=None,
):
    """A run as Dagster records one.

    ``asked``: by the sensor; ``retry_of``: the run that Dagster starts again so; ``snapshot``: of a job of one's own.
    """
    tags = {"dagster/partition": partition} if partition else {}
    if first:
        tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    if asked:
        tags["dagster/sensor_name"] = "new_chunks_sensor"
    if retry_of:
        tags[RETRY_NUMBER_TAG] = "1"
    failed = retry_of and retry_of.run_id
    selection = frozenset(map(AssetKey, assets)) if assets else None
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(location), "repository")
    return create_run_for_test(
        instance,
        job_name=job,
        status=status,
        tags=tags,
        asset_selection=selection,
        remote_job_origin=RemoteJobOrigin(repository, job),
        job_snapshot=snapshot,
        root_run_id=failed,
        parent_run_id=failed,
    )
