"""How far a run looks: as far as what it has embedded is worth, unless it is the nightly one or was asked for alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dagster import DagsterEventType

from embedding_assets.defs.table_spec import EMBEDDINGS

if TYPE_CHECKING:
    from dagster import AssetCheckExecutionContext, AssetExecutionContext, AssetKey, DagsterInstance, DagsterRun

    from embedding_assets.defs.table_spec import TableSpec

THOROUGH_TAG: Final = "embedding_assets/thorough"
"""A run with this tag, whatever its value, counts and reads the table whole, and asks APIs for a sample."""

_AUTOMATION_TAG: Final = "dagster/from_automation_condition"


def written_by(context: AssetExecutionContext | AssetCheckExecutionContext, spec: TableSpec) -> dict[str, int] | None:
    """Space → vectors that this run has written so far; None where it is to look at all, whatever that takes.

    That is where its tag says so, and where a person asked for checks or index alone.
    """
    run, load = context.run, spec.key(EMBEDDINGS)
    if THOROUGH_TAG in run.tags:
        return None
    if load not in context.job_def.asset_layer.selected_asset_keys:
        return {} if _AUTOMATION_TAG in run.tags else None
    # A run that was started again from where it failed has its vectors from the one before.
    loaded: DagsterRun | None = run
    while loaded is not None and not _executes(loaded, load):
        loaded = context.instance.get_run_by_id(loaded.parent_run_id) if loaded.parent_run_id else None
    return None if loaded is None else _written_in(context.instance, loaded, load)


def _executes(run: DagsterRun, load: AssetKey) -> bool:
    steps = run.step_keys_to_execute
    return steps is None or load.to_python_identifier() in steps


def _written_in(instance: DagsterInstance, run: DagsterRun, load: AssetKey) -> dict[str, int]:
    records = instance.get_records_for_run(
        run.run_id, of_type=DagsterEventType.ASSET_MATERIALIZATION, ascending=False, limit=1000
    ).records
    for record in records:
        materialization = record.asset_materialization
        if materialization is not None and materialization.asset_key == load:
            values = {name: entry.value for name, entry in materialization.metadata.items()}
            pairs = (("space", "run_embedded"), ("run_fallback_space", "run_fallback_embedded"))
            return {str(values[space]): int(str(values[count])) for space, count in pairs if count in values}
    return {}


def total_written(context: AssetExecutionContext | AssetCheckExecutionContext, spec: TableSpec) -> int | None:
    """Vectors that this run has written in all spaces; None as for ``written_by``."""
    written = written_by(context, spec)
    return None if written is None else sum(written.values())
