"""The job that sensor and schedule run."""

from dagster import AssetSelection, DagsterRunStatus, define_asset_job

from embedding_assets.planning import PrefixRange

embedding_job = define_asset_job(
    "embed_chunks",
    selection=AssetSelection.assets("chunks_pending", "chunk_embeddings", "pgvector_index_health"),
    description="Count the backlog, embed it, maintain the index.",
)

STARTED = [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]

IN_PROGRESS = [DagsterRunStatus.QUEUED, DagsterRunStatus.NOT_STARTED, *STARTED]


def range_tags(prefixes: PrefixRange) -> dict[str, str]:
    """Tags that make one run of a range of partitions."""
    return {"dagster/asset_partition_range_start": prefixes.first, "dagster/asset_partition_range_end": prefixes.last}
