"""The asset of documents, its check and its sensor; only where EMBEDDING_DOCUMENTS names folders."""

from typing import Any, Final

from dagster import (
    AssetCheckSpec,
    AssetExecutionContext,
    AssetsDefinition,
    DagsterRunStatus,
    DefaultSensorStatus,
    MaterializeResult,
    RunRecord,
    RunRequest,
    RunsFilter,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from embedding_assets.defs.checks import as_result
from embedding_assets.defs.code_version import code_version
from embedding_assets.defs.jobs import IN_PROGRESS, range_tags
from embedding_assets.defs.metadata import load_metadata
from embedding_assets.defs.pauses import after_failure
from embedding_assets.defs.progress_lines import ProgressLines
from embedding_assets.defs.table_runs import SENSOR_TAG, location_tags
from embedding_assets.defs.table_spec import DOCUMENTS, TableSpec
from embedding_assets.documents.configured import configured_choice, load_configured
from embedding_assets.documents.noticing import look_at
from embedding_assets.documents.stores.store import StoreError
from embedding_assets.errors import ConfigurationError
from embedding_assets.formatting import counted
from embedding_assets.health.checks import DOCUMENTS_READABLE
from embedding_assets.health.documents import documents_readable
from embedding_assets.logs import correlate, redact
from embedding_assets.planning import PrefixRange

LOOK_SECONDS: Final = 20.0
"""Longest time that a tick looks through the folders."""

_SENSOR: Final = "documents_sensor"


def documents_assets(spec: TableSpec) -> list[AssetsDefinition]:
    """The asset with its check, if there are documents to load."""
    if not spec.loads_documents:
        return []
    key = spec.key(DOCUMENTS)
    checked = AssetCheckSpec(DOCUMENTS_READABLE.name, asset=key, description=DOCUMENTS_READABLE.description)

    @spec.asset(DOCUMENTS, kinds={"postgres"}, check_specs=[checked], code_version=code_version(spec, DOCUMENTS))
    def documents(context: AssetExecutionContext) -> MaterializeResult:  # type: ignore[type-arg]  # else refused
        """Files of EMBEDDING_DOCUMENTS as chunks in the table: what is new or has changed, the rest stays as it is.

        Text that only moved keeps its vector. What cannot be read is counted, and listed in `rejections`; the others
        are loaded. Documents whose files are gone stay until EMBEDDING_DOCUMENTS_PRUNE=true removes them.

        If it fails, the settings or the database are at fault, or two folders have one name, and the error says what to
        do.
        """
        return _load(context, spec)

    return [documents]


def documents_sensor(spec: TableSpec, job: UnresolvedAssetJobDefinition) -> SensorDefinition:
    """The sensor that asks for a run of a table's job once a file has changed."""

    @sensor(
        name=spec.name(_SENSOR),
        job=job,
        minimum_interval_seconds=60,
        default_status=DefaultSensorStatus.RUNNING,
        description="Asks for a run that loads documents and embeds them once a file of EMBEDDING_DOCUMENTS is new, "
        "gone or changed, by its name, size and time, in buckets by what a listing says of it. It reads no file, and "
        "asks no database.",
    )
    def changed_documents(context: SensorEvaluationContext) -> SensorResult | SkipReason:
        try:
            return _ask_for_load(context, spec)
        except ConfigurationError as error:
            # What is to be put right, and nothing that a stack would explain.
            return SkipReason(redact(str(error)))

    return changed_documents


def _load(context: AssetExecutionContext, spec: TableSpec) -> MaterializeResult[Any]:
    settings = spec.run_settings(context)
    with correlate(context.run.run_id), spec.open(context) as database:
        loaded = load_configured(database, settings, on_progress=ProgressLines(context.log.info))
    report = loaded.report
    verdict = documents_readable(
        report.documents,
        loaded.reasons,
        missing=loaded.missing,
        shrunk=report.shrunk,
        gone=report.gone,
        prune_refused=report.prune_refused,
    )
    if not verdict.passed:
        context.log.warning(verdict.description)
    return MaterializeResult(metadata=load_metadata(loaded), check_results=[as_result(verdict)])


def _ask_for_load(context: SensorEvaluationContext, spec: TableSpec) -> SensorResult | SkipReason:
    config = spec.settings().loading
    try:
        found = look_at(config.paths, configured_choice(config), seconds=LOOK_SECONDS)
    except StoreError as error:
        return SkipReason(f"a bucket or file of EMBEDDING_DOCUMENTS cannot be looked at: {error.strerror}")
    if found is None:
        return SkipReason(
            f"looking through EMBEDDING_DOCUMENTS takes longer than {LOOK_SECONDS:g} s, so changes are not noticed; "
            "the nightly run loads them"
        )
    latest = _latest_run(context, spec)
    status = latest.dagster_run.status if latest else None
    if status in IN_PROGRESS:
        return SkipReason(f"run {latest.dagster_run.run_id} still loads" if latest else "")
    failed = latest is not None and status is DagsterRunStatus.FAILURE and not _has_loaded(context, spec, latest)
    if context.cursor == found.digest and not failed:
        missing = f"; {'; '.join(found.missing)}" if found.missing else ""
        return SkipReason(f"{counted(found.files, 'file')}, as when they were last loaded{missing}")
    if latest and failed and (pause := after_failure(latest)):
        return SkipReason(pause)
    keys = spec.partitions.get_partition_keys()
    return SensorResult(run_requests=[RunRequest(tags=range_tags(PrefixRange(keys[0], keys[-1])))], cursor=found.digest)


def _latest_run(context: SensorEvaluationContext, spec: TableSpec) -> RunRecord | None:
    """The last run that this sensor asked for."""
    tags = {SENSOR_TAG: spec.name(_SENSOR), **location_tags(context)}
    asked = RunsFilter(job_name=spec.job_name, tags=tags)
    return next(iter(context.instance.get_run_records(asked, limit=1)), None)


def _has_loaded(context: SensorEvaluationContext, spec: TableSpec, record: RunRecord) -> bool:
    """Whether it was something else that failed, later in that run."""
    latest = context.instance.get_latest_materialization_event(spec.key(DOCUMENTS))
    return latest is not None and latest.run_id == record.dagster_run.run_id
