"""Which assets and runs of a Dagster instance are a table's, where others may be called alike."""

from __future__ import annotations

from typing import Final

from dagster import AssetKey, DagsterInstance, DagsterRun

from embedding_assets.defs.table_spec import DOCUMENTS, EMBEDDINGS, NAMES, ROWS, TableSpec

PURGE_OP: Final = "delete_old_runs"


def has_name_of(spec: TableSpec, key: AssetKey) -> bool:
    """Whether an asset has a name that one of the table's may have."""
    *prefix, name = key.path
    return prefix == [*spec.key_prefix] and (name in NAMES or name.startswith(f"{ROWS}_"))


def owns(spec: TableSpec, key: AssetKey) -> bool:
    """Whether an asset is one of the table's: ``documents`` may be what fills it, and of the project."""
    return has_name_of(spec, key) and (key.path[-1] != DOCUMENTS or spec.loads_documents)


def is_of_job(instance: DagsterInstance, spec: TableSpec, run: DagsterRun) -> bool:
    """Whether a run is of one of the table's jobs: another code location may have jobs of the same names."""
    if run.job_name not in spec.job_names or run.job_snapshot_id is None:
        return False
    ops = {spec.key(EMBEDDINGS).to_python_identifier(), spec.name(PURGE_OP)}
    return not ops.isdisjoint(instance.get_job_snapshot(run.job_snapshot_id).node_names)
