"""The assets of rows that are split into chunks, and their automation; only where tables or queries are named."""

from typing import Any, Final

from dagster import (
    AssetExecutionContext,
    AssetsDefinition,
    AutomationCondition,
    AutomationConditionSensorDefinition,
    MaterializeResult,
)

from embedding_assets.defs.code_version import code_version
from embedding_assets.defs.metadata import sync_metadata
from embedding_assets.defs.progress_lines import ProgressLines
from embedding_assets.defs.row_source import RowSource
from embedding_assets.defs.table_spec import TableSpec
from embedding_assets.documents.loading import configured_splitter
from embedding_assets.documents.owners import owner_of
from embedding_assets.documents.rejection import Rejection
from embedding_assets.documents.syncing import add_source, sync_source
from embedding_assets.formatting import counted
from embedding_assets.logs import correlate
from embedding_assets.postgres.connection import Database

_FIRST_REJECTIONS: Final = 20


def rows_assets(spec: TableSpec) -> list[AssetsDefinition]:
    """An asset for each source of rows."""
    return [_rows_asset(spec, name, source) for name, source in spec.synced.items()]


def _rows_asset(spec: TableSpec, name: str, source: RowSource) -> AssetsDefinition:
    @spec.asset(
        name,
        kinds={"postgres"},
        deps=[*spec.deps],
        automation_condition=_condition(spec, source),
        code_version=code_version(spec, name),
    )
    def synced_rows(context: AssetExecutionContext) -> MaterializeResult[Any]:
        """Rows of a table or a query as chunks in knowledge_base: those that are new, changed or gone, the rest stays.

        Rows are compared by a fingerprint that PostgreSQL computes. Only chunks whose text changed become pending. A
        row that cannot be a document is counted, and listed in `rejections`; the others are taken.

        If it fails, the table, the query or the database is at fault, and the error says what to do.
        """
        return _sync(context, spec, source)

    return synced_rows


def rows_sensors(spec: TableSpec) -> list[AutomationConditionSensorDefinition]:
    """The sensor that evaluates the assets' conditions, if one has any."""
    names = [name for name, source in spec.synced.items() if _condition(spec, source) is not None]
    if not names:
        return []
    return [
        spec.condition_sensor(
            "rows_sensor",
            names,
            "Compares the rows at the times of `every`, and once an asset that they come from was "
            "materialized. It asks the database nothing.",
        )
    ]


def _condition(spec: TableSpec, source: RowSource) -> AutomationCondition[Any] | None:
    """True at the times that are said, and once what is upstream was materialized; None if neither is known.

    The times hold without sensors, too: they were asked for by themselves.
    """
    follows = bool(spec.deps) and spec.sensors
    upstream: AutomationCondition[Any] | None = AutomationCondition.any_deps_updated() if follows else None
    times: AutomationCondition[Any] | None = (
        AutomationCondition.cron_tick_passed(source.every) if source.every else None
    )
    causes = [cause for cause in (upstream, times) if cause is not None]
    if not causes:
        return None
    due: AutomationCondition[Any] = causes[0] if len(causes) == 1 else causes[0] | causes[1]
    return (
        due.since_last_handled() & ~AutomationCondition.any_deps_in_progress() & ~AutomationCondition.in_progress()
    ).with_label("rows_due")


def _sync(context: AssetExecutionContext, spec: TableSpec, source: RowSource) -> MaterializeResult[Any]:
    settings = spec.run_settings(context)
    first: list[Rejection] = []

    def reject(rejection: Rejection) -> None:
        if len(first) < _FIRST_REJECTIONS:
            first.append(rejection)

    with correlate(context.run.run_id), spec.open(context) as database:
        name = _register(database, source, _owner(context))
        splitter = configured_splitter(settings, database)
        report = sync_source(database, name, splitter, on_progress=ProgressLines(context.log.info), on_reject=reject)
    if report.remark:
        context.log.info("all rows were compared: %s", report.remark)
    if report.rejected:
        context.log.warning("%s cannot be documents; the first are in `rejections`", counted(report.rejected, "row"))
    return MaterializeResult(metadata=sync_metadata(report, first))


def _owner(context: AssetExecutionContext) -> str:
    """This asset, by the code location that its run was launched from, if it was launched from one."""
    origin = context.run.remote_job_origin
    location = None if origin is None else origin.repository_origin.get_label()
    return owner_of(context.asset_key.to_user_string(), location)


def _register(database: Database, source: RowSource, owner: str) -> str:
    """Make the source known, or its new definition; returns its name."""
    with database.session() as connection:
        definition = source.define(connection)
    add_source(database, definition, owner=owner)
    return definition.name
