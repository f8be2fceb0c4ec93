"""The job that sensor and schedule run."""

from dagster import AssetSelection, DagsterInstance, DagsterRunStatus, RunRecord, define_asset_job

from embedding_assets.config import get_settings
from embedding_assets.planning import PrefixRange

embedding_job = define_asset_job(
    "embed_chunks",
    selection=AssetSelection.assets("chunks_pending", "chunk_embeddings", "pgvector_index_health"),
    description="Count the backlog, embed it, maintain the index.",
    tags=get_settings().embedding.run_tags,
)

STARTED = [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]

IN_PROGRESS = [DagsterRunStatus.QUEUED, DagsterRunStatus.NOT_STARTED, *STARTED]


def range_tags(prefixes: PrefixRange) -> dict[str, str]:
    """Tags that make one run of a range of partitions."""
    return {"dagster/asset_partition_range_start": prefixes.first, "dagster/asset_partition_range_end": prefixes.last}


def last_sign(instance: DagsterInstance, record: RunRecord) -> float:
    """When a run last logged anything, or changed its status; in seconds since 1970.

    Dagster goes on to call a run started when it was killed on the command line, or with the whole machine.
    """
    logs = instance.event_log_storage.get_logs_for_run(record.dagster_run.run_id, limit=1, ascending=False)
    return max([record.update_timestamp.timestamp(), *(entry.timestamp for entry in logs)])
