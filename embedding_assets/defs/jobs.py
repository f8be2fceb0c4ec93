"""The job of a table that sensor and schedule run."""

from dagster import (
    AssetSelection,
    DagsterInstance,
    DagsterRunStatus,
    RunRecord,
    define_asset_job,
    in_process_executor,
)
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from embedding_assets.defs.table_spec import DOCUMENTS, EMBEDDINGS, HEALTH, PENDING, TableSpec
from embedding_assets.planning import PrefixRange

EMBEDDING = (PENDING, EMBEDDINGS, HEALTH)
"""The assets that a run for new chunks is over."""


def table_job(spec: TableSpec) -> UnresolvedAssetJobDefinition:
    """The job over all assets of a table but the one of judged questions."""
    before = [*([DOCUMENTS] if spec.loads_documents else []), *spec.synced]
    return define_asset_job(
        spec.job_name,
        selection=AssetSelection.assets(*map(spec.key, (*before, *EMBEDDING))),
        description=f"{'Load what has changed, count' if before else 'Count'} the backlog, embed it, maintain the "
        "index.",
        tags=spec.settings_when_loaded().embedding.run_tags,
        # In one process the steps share one model and pay for loading definitions once.
        executor_def=in_process_executor,
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
