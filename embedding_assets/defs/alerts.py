"""Sensors that alert a webhook to failed runs, and to failed checks in runs that succeeded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dagster import (
    AssetCheckSeverity,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    RunFailureSensorContext,
    RunStatusSensorContext,
    SensorDefinition,
)
from dagster._core.storage.tags import RUN_FAILURE_REASON_TAG, WILL_RETRY_TAG
from dagster_shared.error import SerializableErrorInfo

from embedding_assets.defs.alert_sharing import FAILED_RUNS, is_of, other_poster, tables_posted_together
from embedding_assets.defs.ownership import owns
from embedding_assets.defs.run_watching import Failed, Outcome, Passed, Reacted, RunWatcher
from embedding_assets.defs.table_spec import TableSpec
from embedding_assets.defs.webhook import Alert, ErrorLine, StepFailure, describe_error, post_alert


def alert_sensors(spec: TableSpec) -> list[SensorDefinition]:
    """The two sensors of a table."""

    def failed_run(context: RunStatusSensorContext) -> Outcome:
        """One post a run."""
        if not is_of(context, spec):
            return _of_others(context.dagster_run)
        tables = tables_posted_together(context, spec)
        poster = other_poster(context, spec, tables)
        if poster is not None:
            return Passed(f"{poster} posts run {context.dagster_run.run_id}, or has posted it")
        return _post_failure(context.for_run_failure(), tables)

    def failed_checks(context: RunStatusSensorContext) -> Outcome:
        """One post a run with failed checks."""
        return _post_checks(context, spec) if is_of(context, spec) else _of_others(context.dagster_run)

    return [
        RunWatcher(
            spec.name(FAILED_RUNS),
            DagsterRunStatus.FAILURE,
            failed_run,
            table=spec,
            description="Posts each failed run to EMBEDDING_ALERT_WEBHOOK_URL, a blocking check that failed included: "
            "JSON with a line of text, as Slack takes it. Unset, it only says so. Runs of other assets, and of the "
            "command line, are not seen.",
        ),
        RunWatcher(
            spec.name("failed_checks_sensor"),
            DagsterRunStatus.SUCCESS,
            failed_checks,
            table=spec,
            description="Posts checks of error severity that failed in a run that succeeded, e.g. index_valid, to "
            "EMBEDDING_ALERT_WEBHOOK_URL, as failed_runs_sensor does. Checks that only warn are included with "
            "EMBEDDING_ALERT_WARNINGS=true alone.",
        ),
    ]


def _of_others(run: DagsterRun) -> Passed:
    return Passed(f"run {run.run_id} is for none of these assets")


def _post_failure(context: RunFailureSensorContext, tables: Sequence[TableSpec]) -> Outcome:
    run = context.dagster_run
    failed = [_failed_checks(context.instance, run, spec) for spec in tables]
    alert = Alert(
        "run_failed",
        run_id=run.run_id,
        job=run.job_name,
        assets=_assets_of(run),
        partitions=_partitions_of(run),
        steps=list(_failures(context)),
        checks=sorted(name for checks, _ in failed for name in checks),
        warnings=sorted(name for _, warnings in failed for name in warnings),
        reason=run.tags.get(RUN_FAILURE_REASON_TAG),
        will_retry=run.tags.get(WILL_RETRY_TAG) == "true",
    )
    return _deliver(context, tables[0], alert)


def _post_checks(context: RunStatusSensorContext, spec: TableSpec) -> Outcome:
    run = context.dagster_run
    checks, warnings = _failed_checks(context.instance, run, spec)
    if not (checks or warnings):
        which = "check" if spec.settings().alert.warnings else "check of error severity"
        return Passed(f"no {which} failed in run {run.run_id}")
    alert = Alert(
        "checks_failed",
        run_id=run.run_id,
        job=run.job_name,
        assets=_assets_of(run),
        partitions=_partitions_of(run),
        checks=checks,
        warnings=warnings,
    )
    return _deliver(context, spec, alert)


def _deliver(context: RunStatusSensorContext, spec: TableSpec, alert: Alert) -> Outcome:
    url = spec.settings().alert.webhook_url
    if url is None:
        return Failed(f"EMBEDDING_ALERT_WEBHOOK_URL is not set, so this is not posted: {alert.text}")
    failure = post_alert(url, alert)
    if failure is None:
        return Reacted()
    unsent = f"no alert was sent: {failure.reason}. It was: {alert.text}"
    # Where it is not tried again, it stands in this tick and log.
    context.log.error(unsent)
    return Failed(unsent, may_pass=failure.may_pass)


def _assets_of(run: DagsterRun) -> list[str]:
    return sorted(key.to_user_string() for key in run.asset_selection or ())


def _partitions_of(run: DagsterRun) -> str | None:
    first, last = (run.tags.get(f"dagster/asset_partition_range_{end}") for end in ("start", "end"))
    return f"{first}-{last}" if first and last else run.tags.get("dagster/partition")


def _failures(context: RunFailureSensorContext) -> Iterator[StepFailure]:
    for event in context.get_step_failure_events():
        error, message = describe_error(_chain(event.step_failure_data.error))
        yield StepFailure(event.step_key or "", error, message)


def _chain(error: SerializableErrorInfo | None) -> Iterator[ErrorLine]:
    while error is not None:
        yield ErrorLine(error.cls_name or "", error.message)
        error = error.cause


def _failed_checks(instance: DagsterInstance, run: DagsterRun, spec: TableSpec) -> tuple[list[str], list[str]]:
    """Those of error severity, and those that only warn if they are to be posted."""
    records = instance.get_records_for_run(run.run_id, of_type=DagsterEventType.ASSET_CHECK_EVALUATION).records
    events = [record.event_log_entry.dagster_event for record in records]
    evaluations = [e.asset_check_evaluation_data for e in events if e]
    # Others of the run are of the project, or of another table, whose sensor posts them.
    failed = [e for e in evaluations if not e.passed and owns(spec, e.asset_key)]

    def names(severity: AssetCheckSeverity) -> list[str]:
        return sorted(f"{e.asset_key.to_user_string()}:{e.check_name}" for e in failed if e.severity is severity)

    warnings = names(AssetCheckSeverity.WARN) if spec.settings().alert.warnings else []
    return names(AssetCheckSeverity.ERROR), warnings
