"""The definitions of an embedded table, to be merged into a Dagster project."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from dagster import AssetKey, AssetsDefinition, Definitions, SensorDefinition

from embedding_assets.config.overlay import check_variables
from embedding_assets.defs.alerts import alert_sensors
from embedding_assets.defs.assets import source_assets, table_assets
from embedding_assets.defs.automation import index_health_sensor
from embedding_assets.defs.checks import table_checks
from embedding_assets.defs.documents import documents_assets, documents_sensor
from embedding_assets.defs.jobs import table_job
from embedding_assets.defs.quality import quality_assets
from embedding_assets.defs.resources import EmbeddingProviderResource, ModelResource, PostgresResource
from embedding_assets.defs.schedules import nightly_schedule
from embedding_assets.defs.sensors import new_chunks_sensor
from embedding_assets.defs.table_spec import DATABASE_RESOURCE, MODEL_RESOURCE, PROVIDER_RESOURCE, TableSpec
from embedding_assets.errors import ConfigurationError

NIGHTLY: Final = "0 2 * * *"


def build_embedding_definitions(
    table: str | None = None,
    *,
    key: str | Sequence[str] | None = None,
    text: str | None = None,
    where: str | None = None,
    metadata: str | Sequence[str] | None = None,
    database_url: str | None = None,
    provider: str | None = None,
    fallback: str | None = None,
    model: str | None = None,
    settings: Mapping[str, object] | None = None,
    key_prefix: str | Sequence[str] = (),
    group_name: str = "embedding",
    owners: Sequence[str] = (),
    tags: Mapping[str, str] | None = None,
    deps: Sequence[AssetKey | AssetsDefinition] = (),
    schedule: str | None = NIGHTLY,
    sensors: bool = True,
    alerts: bool = True,
) -> Definitions:
    """Assets, checks, job, schedule, sensors and resources of one embedded table.

    What is not given comes from the environment, as for the command line. Two tables in one project need two prefixes.

    Args:
        table: as in SQL, e.g. ``shop."Notes"``; by default ``knowledge_base``, or the only table that was adopted.
        key: column or columns of its primary key, or of a unique constraint.
        text: its column that is embedded, or a template such as ``{title}: {body}``.
        where: an SQL condition on the rows to embed.
        metadata: columns that searches show and filter by.
        database_url: of its database, best as an ``EnvVar``, which is read when a run or sensor needs it.
        provider: ``local`` or ``openai``.
        fallback: the provider that stands in.
        model: of the provider: a name, or a folder for the local one.
        settings: any other settings by the names of their variables, e.g. ``{"EMBEDDING_INDEX_M": 32}``; a value may
            be an ``EnvVar``.
        key_prefix: of its assets; jobs, sensors and resources are called by it too, with ``__`` between.
        group_name: of its assets.
        owners: of its assets, e.g. ``team:search``.
        tags: of its assets.
        deps: assets of yours that fill the table.
        schedule: when the run over everything comes, as in cron; None for never.
        sensors: whether new chunks and finished loads start runs.
        alerts: whether failed runs and checks are posted to ``EMBEDDING_ALERT_WEBHOOK_URL``.

    Raises:
        ConfigurationError: a setting is unknown or not acceptable.
    """
    given: dict[str, object] = {
        "EMBEDDING_TABLE": table,
        "EMBEDDING_TABLE_KEY": key,
        "EMBEDDING_TABLE_TEXT": text,
        "EMBEDDING_TABLE_WHERE": where,
        "EMBEDDING_TABLE_METADATA": metadata,
        "EMBEDDING_DATABASE_URL": database_url,
        "EMBEDDING_PROVIDER": provider,
        "EMBEDDING_FALLBACK": fallback,
        "EMBEDDING_OPENAI_MODEL" if provider == "openai" else "EMBEDDING_MODEL_NAME": model,
    }
    variables: dict[str, object] = {name: value for name, value in given.items() if value is not None}
    if twice := sorted(set(variables) & set(settings or {})):
        raise ConfigurationError(f"{', '.join(twice)}: given twice, as an argument and in `settings`")
    variables |= settings or {}
    check_variables(variables)
    return table_definitions(
        TableSpec(
            key_prefix=(key_prefix,) if isinstance(key_prefix, str) else tuple(key_prefix),
            variables=variables,
            group_name=group_name,
            owners=tuple(owners),
            tags=dict(tags or {}),
            deps=tuple(deps),
            schedule=schedule,
            sensors=sensors,
            alerts=alerts,
        )
    )


def table_definitions(spec: TableSpec) -> Definitions:
    """All definitions of a table."""
    measured, judged = quality_assets(spec)
    job = table_job(spec)
    return Definitions(
        assets=[*source_assets(spec), *documents_assets(spec), *table_assets(spec), *measured],
        asset_checks=[*table_checks(spec), *judged],
        resources=_resources(spec),
        jobs=[job],
        sensors=[*_sensors(spec, job)],
        schedules=[] if spec.schedule is None else [nightly_schedule(spec, spec.schedule, job)],
    )


def _resources(spec: TableSpec) -> dict[str, Any]:
    # Configured at launch, so that the provider sees what the launchpad sets for the model.
    model = ModelResource.configure_at_launch()
    return {
        spec.name(DATABASE_RESOURCE): PostgresResource(),
        spec.name(MODEL_RESOURCE): model,
        spec.name(PROVIDER_RESOURCE): EmbeddingProviderResource(model=model),
    }


def _sensors(spec: TableSpec, job: Any) -> list[SensorDefinition]:
    running = [new_chunks_sensor(spec, job), index_health_sensor(spec)] if spec.sensors else []
    running += [documents_sensor(spec, job)] if spec.sensors and spec.loads_documents else []
    return [*running, *(alert_sensors(spec) if spec.alerts else [])]
