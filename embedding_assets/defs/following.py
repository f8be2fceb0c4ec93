"""Automation of chunk_embeddings: it follows the assets that fill the table."""

from __future__ import annotations

from typing import Any

from dagster import AutomationCondition, AutomationConditionSensorDefinition

from embedding_assets.defs.table_spec import EMBEDDINGS, TableSpec

# Of chunks_pending, before which they stand: counting comes with the run.
_UPSTREAM_UPDATED = AutomationCondition.any_deps_match(AutomationCondition.any_deps_updated())
_UPSTREAM_IN_PROGRESS = AutomationCondition.any_deps_match(AutomationCondition.any_deps_in_progress())

follows_upstream = (
    _UPSTREAM_UPDATED.since_last_handled() & ~_UPSTREAM_IN_PROGRESS & ~AutomationCondition.in_progress()
).with_label("follows_upstream")


def upstream_condition(spec: TableSpec) -> AutomationCondition[Any] | None:
    """True once an asset that fills the table was materialized, and none is just now; None if there is none.

    None too where rows are compared: mostly nothing has changed, and what has the sensor on new chunks finds.
    """
    return follows_upstream if spec.deps and not spec.rows and spec.sensors else None


def upstream_sensors(spec: TableSpec) -> list[AutomationConditionSensorDefinition]:
    """The sensor that evaluates the condition for a table, if it has one."""
    if upstream_condition(spec) is None:
        return []
    return [
        spec.condition_sensor(
            "upstream_sensor",
            [EMBEDDINGS],
            "Embeds all partitions in one run once an asset that fills the table was materialized; what a "
            "run of new_chunks_sensor has embedded since is left out. It asks the database nothing.",
        )
    ]
