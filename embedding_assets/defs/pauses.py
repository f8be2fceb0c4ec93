"""Pauses of a table's sensor, though chunks are due: after runs that failed, or that a person cancelled."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from dagster import DagsterRunStatus

from embedding_assets.defs.table_runs import cancelled_since, latest_finished, latest_of_sensor

if TYPE_CHECKING:
    from dagster import RunRecord, SensorEvaluationContext

    from embedding_assets.defs.table_look import TableLook
    from embedding_assets.defs.table_spec import TableSpec

PAUSE_AFTER_FAILURE_SECONDS: Final = 600

INDEX_AGAIN_SECONDS: Final = 3600
"""Before an index that is still missing is asked for once more."""

_CANCELLED, _INDEXES, _IDLE, _RUNNING = "cancelled", "indexes", "idle", "running"
_NOTHING: Final[dict[str, Any]] = {"due": [], "chunks": 0}


class SensorNotes:
    """What the sensor keeps from tick to tick, in its cursor."""

    def __init__(self, cursor: str | None) -> None:
        self._kept: dict[str, Any] = _read(cursor)

    def write(self) -> str:
        """As a cursor."""
        return json.dumps(self._kept, sort_keys=True)

    def holds(self, cancelled: RunRecord, look: TableLook) -> bool:
        """Whether no rows have come since this run was first seen cancelled, and what it left is due."""
        run_id = cancelled.dagster_run.run_id
        now: dict[str, Any] = {
            "run": run_id,
            "due": look.ready.prefixes,
            "chunks": look.ready.chunks,
            "inserts": look.inserts,
        }
        before = self._kept.get(_CANCELLED)
        if before is None or before["run"] != run_id:
            left_nothing = self._kept.get(_IDLE, 0) > (cancelled.end_time or 0)
            self._kept[_CANCELLED] = now | (_NOTHING if left_nothing else {})
            return not left_nothing
        before["inserts"] = min(before["inserts"], now["inserts"])  # a counter that may be set back
        return not (
            set(now["due"]) - set(before["due"])
            or now["chunks"] > before["chunks"]
            or now["inserts"] > before["inserts"]
        )

    @property
    def cancelled_run(self) -> str | None:
        """Id of the run that was seen cancelled."""
        noted = self._kept.get(_CANCELLED)
        return noted and str(noted["run"])

    def ended(self, running: Iterable[str]) -> list[str]:
        """Ids of runs that were seen running, and are none of those that run now, which are noted."""
        before, now = self._kept.get(_RUNNING, []), sorted(running)
        self._kept[_RUNNING] = now
        if not now:
            del self._kept[_RUNNING]
        return [run_id for run_id in before if run_id not in now]

    def nothing_is_due(self) -> None:
        """All that is due later is new, whatever run was cancelled before: it left nothing, or that was embedded."""
        self._kept[_IDLE] = round(time.time(), 1)
        if _CANCELLED in self._kept:
            self._kept[_CANCELLED] |= _NOTHING

    def forget_cancelled(self) -> None:
        """The cancelled run is not the last any more."""
        self._kept.pop(_CANCELLED, None)

    def may_ask_for(self, indexes: tuple[str, ...]) -> bool:
        """Whether a run for missing indexes may be asked for, which is noted; not again and again for the same."""
        asked = self._kept.get(_INDEXES, {})
        if set(indexes) <= set(asked.get("names", [])) and time.time() - asked["at"] < INDEX_AGAIN_SECONDS:
            return False
        self._kept[_INDEXES] = {"names": list(indexes), "at": time.time()}
        return True

    def forget_indexes(self) -> None:
        """None is missing."""
        self._kept.pop(_INDEXES, None)


def _read(cursor: str | None) -> dict[str, Any]:
    try:
        kept = json.loads(cursor or "{}")
    except ValueError:
        return {}
    return kept if isinstance(kept, dict) else {}


def pause(context: SensorEvaluationContext, spec: TableSpec, sensor: str, look: TableLook, notes: SensorNotes) -> str:
    """Why nothing is asked for just now, and until when; empty if it may be."""
    latest = latest_finished(context, spec, known=_noted(context, notes))
    cancelled = _cancelled(context, spec, latest)
    if cancelled is not None:
        return _held(cancelled, sensor) if notes.holds(cancelled, look) else ""
    notes.forget_cancelled()
    own = latest_of_sensor(context, spec, sensor)
    if own is None or own.dagster_run.status is not DagsterRunStatus.FAILURE:
        return ""
    if latest is not None and latest.dagster_run.status is DagsterRunStatus.SUCCESS and _is_later(latest, own):
        return ""
    return after_failure(own)


def _noted(context: SensorEvaluationContext, notes: SensorNotes) -> RunRecord | None:
    """The cancelled run by its id: since then as many runs of others may have ended as are looked through."""
    run_id = notes.cancelled_run
    return None if run_id is None else context.instance.get_run_record_by_id(run_id)


def was_cancelled(context: SensorEvaluationContext, spec: TableSpec, notes: SensorNotes) -> bool:
    """Whether the last run over the table or its index was cancelled, so that no other is wanted just for the index."""
    latest = latest_finished(context, spec, known=_noted(context, notes), index_alone=True)
    return _cancelled(context, spec, latest, index_alone=True) is not None


def _cancelled(
    context: SensorEvaluationContext, spec: TableSpec, latest: RunRecord | None, *, index_alone: bool = False
) -> RunRecord | None:
    """The run by which a person said that no more is wanted for now, unless something was asked for since."""
    if latest is None or latest.dagster_run.status is DagsterRunStatus.CANCELED:
        return latest
    return cancelled_since(context, spec, latest, index_alone=index_alone)


def after_failure(record: RunRecord) -> str:
    """Why nothing is asked for after a run of the sensor's that failed, and until when; empty if it may be."""
    until = (record.end_time or 0) + PAUSE_AFTER_FAILURE_SECONDS
    left = until - time.time()
    if left <= 0:
        return ""
    run = record.dagster_run
    return (
        f"run {run.run_id[:8]}, which this sensor had asked for, failed; the next is asked for at "
        f"{datetime.fromtimestamp(until, UTC):%H:%M:%S} UTC, in {left:.0f} s. Launch a run of {run.job_name} to try "
        "at once"
    )


def _held(latest: RunRecord, sensor: str) -> str:
    return (
        f"run {latest.dagster_run.run_id[:8]} was cancelled, so what it left is asked for once further rows come, or "
        f"once you launch a run. To ask for none at all, switch this sensor off: on Dagster's page Automation, or with "
        f"`dagster sensor stop {sensor}`"
    )


def _is_later(one: RunRecord, other: RunRecord) -> bool:
    return one.create_timestamp > other.create_timestamp
