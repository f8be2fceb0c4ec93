"""The last result of a check, for a run that has changed nothing it is about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dagster import AssetCheckKey, AssetCheckResult
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

if TYPE_CHECKING:
    from dagster import AssetCheckExecutionContext, AssetKey

_FROM: Final = "kept_from_run"

JUDGED: Final = {AssetCheckExecutionRecordStatus.SUCCEEDED, AssetCheckExecutionRecordStatus.FAILED}
"""What a check that came to a verdict is recorded as; others were only planned, or broke off."""


def last_result(context: AssetCheckExecutionContext, asset: AssetKey, name: str) -> AssetCheckResult | None:
    """What the check of an asset last said, and in which run; None where it never did."""
    storage = context.instance.event_log_storage
    records = storage.get_asset_check_execution_history(AssetCheckKey(asset, name), limit=1, status=JUDGED)
    event = records[0].event if records else None
    if event is None or event.dagster_event is None:
        return None
    last = event.dagster_event.asset_check_evaluation_data
    description, metadata = last.description or "", dict(last.metadata)
    if _FROM not in metadata:
        description = f"nothing was embedded since run {event.run_id[:8]} looked; it said: {description}"
        metadata[_FROM] = event.run_id
    return AssetCheckResult(
        passed=last.passed,
        asset_key=asset,
        check_name=name,
        severity=last.severity,
        description=f"{description}",
        metadata=metadata,
    )
