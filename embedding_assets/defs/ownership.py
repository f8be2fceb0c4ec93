"""Which assets and runs of a Dagster instance are a table's, where others may be called alike."""

from __future__ import annotations

from typing import Final

from dagster import AssetKey, DagsterInstance, DagsterRun

from embedding_assets.defs.table_spec import DATABASE_RESOURCE, DOCUMENTS, EMBEDDINGS, NAMES, ROWS, TableSpec

PURGE_OP: Final = "delete_old_runs"

_MOST_KNOWN: Final = 500

_known_ops: dict[tuple[str, str], frozenset[str]] = {}
"""Snapshot of a job and resource → ops that need it. What a snapshot's id stands for never changes."""


def has_name_of(spec: TableSpec, key: AssetKey) -> bool:
    """Whether an asset has a name that one of the table's may have."""
    *prefix, name = key.path
    return prefix == [*spec.key_prefix] and (name in NAMES or name.startswith(f"{ROWS}_"))


def owns(spec: TableSpec, key: AssetKey) -> bool:
    """Whether an asset is one of the table's: ``documents`` may be what fills it, and of the project."""
    return has_name_of(spec, key) and (key.path[-1] != DOCUMENTS or spec.loads_documents)


def owns_in(instance: DagsterInstance, spec: TableSpec, run: DagsterRun, key: AssetKey) -> bool:
    """The same of an asset in a run, by whose job it is seen what ``documents`` was, however settings are now."""
    if key.path[-1] != DOCUMENTS or run.job_snapshot_id is None:
        return owns(spec, key)
    return has_name_of(spec, key) and key.to_python_identifier() in own_ops(instance, spec, run)


def own_ops(instance: DagsterInstance, spec: TableSpec, run: DagsterRun) -> frozenset[str]:
    """Names of the ops in a run's job that are the table's: they need all of its resources.

    An asset of a project that searches needs its database alone.
    """
    if run.job_snapshot_id is None:
        return frozenset()
    keys = spec.resource_keys
    place = (run.job_snapshot_id, spec.name(DATABASE_RESOURCE))
    found = _known_ops.get(place)
    if found is None:
        snapshot = instance.get_job_snapshot(run.job_snapshot_id)
        ops = snapshot.node_defs_snapshot.op_def_snaps
        found = frozenset(op.name for op in ops if keys <= {*op.required_resource_keys})
        if len(_known_ops) >= _MOST_KNOWN:
            _known_ops.clear()
        _known_ops[place] = found
    return found


def is_over(instance: DagsterInstance, spec: TableSpec, run: DagsterRun, name: str) -> bool:
    """Whether a run is for one of the table's assets; one of a whole job, ours or another, names none."""
    if run.asset_selection:
        return spec.key(name) in run.asset_selection
    return run.job_name == spec.job_name or spec.key(name).to_python_identifier() in own_ops(instance, spec, run)


def is_of_job(instance: DagsterInstance, spec: TableSpec, run: DagsterRun) -> bool:
    """Whether a run is of one of the table's jobs: another code location may have jobs of the same names."""
    if run.job_name not in spec.job_names or run.job_snapshot_id is None:
        return False
    ops = {spec.key(EMBEDDINGS).to_python_identifier(), spec.name(PURGE_OP)}
    return not ops.isdisjoint(instance.get_job_snapshot(run.job_snapshot_id).node_names)
