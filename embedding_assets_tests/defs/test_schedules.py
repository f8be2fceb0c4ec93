from datetime import UTC, datetime

from dagster import build_schedule_context

from embedding_assets.definitions import defs
from embedding_assets_tests.support.defined import nightly_schedule


def test_every_night_all_partitions():
    when = datetime(2030, 1, 1, 2, tzinfo=UTC)

    request = nightly_schedule(build_schedule_context(scheduled_execution_time=when))

    assert request.tags == {
        "dagster/asset_partition_range_start": "0",
        "dagster/asset_partition_range_end": "f",
        "embedding_assets/thorough": "true",
    }
    assert request.run_key == when.isoformat()


def test_it_runs_all_three_assets():
    job = defs.get_repository_def().get_job(nightly_schedule.job_name)

    assert {key.to_user_string() for key in job.asset_layer.selected_asset_keys} == {
        "chunks_pending",
        "chunk_embeddings",
        "pgvector_index_health",
    }
