"""The definitions of an embedded table, to be merged into a Dagster project."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from dagster import (
    AssetDep,
    AssetKey,
    AssetsDefinition,
    AssetSpec,
    BetaWarning,
    Definitions,
    ScheduleDefinition,
    SensorDefinition,
)

from embedding_assets.config.overlay import check_variables
from embedding_assets.defs.alerts import alert_sensors
from embedding_assets.defs.assets import source_assets, table_assets
from embedding_assets.defs.automation import index_health_sensor
from embedding_assets.defs.checks import table_checks
from embedding_assets.defs.code_references import reference_to_caller, with_reference
from embedding_assets.defs.documents import documents_assets, documents_sensor
from embedding_assets.defs.following import upstream_sensors
from embedding_assets.defs.jobs import table_job
from embedding_assets.defs.quality import quality_assets
from embedding_assets.defs.resources import EmbeddingProviderResource, ModelResource, PostgresResource
from embedding_assets.defs.retention import purging
from embedding_assets.defs.row_source import RowSource, check_sources
from embedding_assets.defs.rows import rows_assets, rows_sensors
from embedding_assets.defs.schedules import nightly_schedule
from embedding_assets.defs.sensors import new_chunks_sensor
from embedding_assets.defs.table_spec import (
    DATABASE_RESOURCE,
    MODEL_RESOURCE,
    PROVIDER_RESOURCE,
    TableSpec,
    parts_of_prefix,
)
from embedding_assets.errors import ConfigurationError
from embedding_assets.postgres.lookup import OWN_TABLE

if TYPE_CHECKING:
    from dagster import CodeReferencesMetadataValue

    from embedding_assets.defs.table_spec import Upstream

NIGHTLY: Final = "0 2 * * *"

_PREFIX_LENGTHS: Final = {16: 1, 256: 2}
"""Partitions → characters of a hash by which there are so many."""

_TABLE_NAME: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*){1,2}")
"""As SQL calls a table in a schema."""


def build_embedding_definitions(
    table: str | None = None,
    *,
    key: str | Sequence[str] | None = None,
    text: str | None = None,
    where: str | None = None,
    metadata: str | Sequence[str] | None = None,
    adopt: bool = False,
    database_url: str | None = None,
    provider: str | None = None,
    fallback: str | None = None,
    model: str | None = None,
    settings: Mapping[str, object] | None = None,
    key_prefix: str | Sequence[str] = (),
    partitions: Literal[16, 256] | None = None,
    group_name: str = "embedding",
    owners: str | Sequence[str] = (),
    tags: Mapping[str, str] | None = None,
    deps: str | Upstream | Sequence[str | Upstream] = (),
    rows: RowSource | Sequence[RowSource] = (),
    schedule: str | None = NIGHTLY,
    sensors: bool = True,
    alerts: bool = True,
    keep_runs_days: int | None = None,
) -> Definitions:
    """Assets, checks, job, schedule, sensors and resources of one embedded table.

    What is not given comes from the environment, as for the command line; with a table, database or model of its own
    comes none of the environment's key, text, password, documents or prompts. Two tables in one project need two
    prefixes.

    Args:
        table: as in SQL, e.g. ``shop."Notes"``; by default ``knowledge_base``, or the only table that was adopted.
        key: column or columns of its primary key, or of a unique constraint.
        text: its column that is embedded, or a template such as ``{title}: {body}``.
        where: an SQL condition on the rows to embed.
        metadata: columns that searches show and filter by.
        adopt: whether the first run over ``chunk_embeddings``, which the sensor asks for, adopts the table as
            ``embedding-assets adopt`` does; without, runs fail until that was done.
        database_url: of its database, best as an ``EnvVar``, which is read when a run or sensor needs it.
        provider: ``local`` or ``openai``.
        fallback: the provider that stands in.
        model: of the provider, which is said then: a name, or a folder for the local one.
        settings: any other settings by the names of their variables, e.g. ``{"EMBEDDING_INDEX_M": 32}``; a value may
            be an ``EnvVar``.
        key_prefix: of its assets, ``"shop"``, ``"shop/articles"`` or ``["shop", "articles"]``; jobs, sensors and
            resources are called by it too, with ``__`` between.
        partitions: of ``chunk_embeddings``: 16 or 256.
        group_name: of its assets.
        owners: of its assets, e.g. ``team:search``.
        tags: of its assets.
        deps: assets of yours that fill the table: keys, as ``AssetKey`` or ``"shop/articles"``, or definitions.
            ``chunk_embeddings`` follows them.
        rows: a table or a query whose rows are split into chunks of ``knowledge_base``; an asset ``synced_rows`` keeps
            them in step, and follows ``deps``, which they come from. Of several each has its own, called by its query
            or table: ``synced_rows_shop_articles``.
        schedule: when the run over everything comes, as in cron; None for never.
        sensors: whether new chunks, finished loads and what is upstream start runs; the times of ``every`` in
            ``rows`` hold either way.
        alerts: whether failed runs and checks are posted to ``EMBEDDING_ALERT_WEBHOOK_URL``.
        keep_runs_days: after which a job, every night at 03:30 UTC, deletes the table's finished runs, but those that
            the catalog shows; None for never.

    Raises:
        ConfigurationError: a setting is unknown or not acceptable, the prefix is, or two arguments do not go together.
    """
    sources = (rows,) if isinstance(rows, RowSource) else tuple(rows)
    check_sources(sources)
    if sources:
        if table is not None:
            raise ConfigurationError("rows: their chunks go into knowledge_base, so leave `table` out")
        table = OWN_TABLE
    if keep_runs_days is not None and keep_runs_days < 1:
        raise ConfigurationError(f"keep_runs_days: at least 1, not {keep_runs_days}; None deletes no run")
    given: dict[str, object] = {
        "EMBEDDING_TABLE": table,
        "EMBEDDING_TABLE_KEY": key,
        "EMBEDDING_TABLE_TEXT": text,
        "EMBEDDING_TABLE_WHERE": where,
        "EMBEDDING_TABLE_METADATA": metadata,
        "EMBEDDING_DATABASE_URL": database_url,
        "EMBEDDING_PROVIDER": provider,
        "EMBEDDING_FALLBACK": fallback,
        _model_variable(provider or (settings or {}).get("EMBEDDING_PROVIDER"), model): model,
        "EMBEDDING_PREFIX_LENGTH": _prefix_length(partitions),
    }
    variables: dict[str, object] = {name: value for name, value in given.items() if value is not None}
    if twice := sorted(set(variables) & set(settings or {})):
        raise ConfigurationError(f"{', '.join(twice)}: given twice, as an argument and in `settings`")
    variables |= settings or {}
    check_variables(variables)
    return table_definitions(
        TableSpec(
            key_prefix=parts_of_prefix(key_prefix),
            variables=variables,
            adopt=adopt,
            group_name=group_name,
            owners=(owners,) if isinstance(owners, str) else tuple(owners),
            tags=dict(tags or {}),
            deps=_upstream(deps),
            rows=sources,
            schedule=schedule,
            sensors=sensors,
            alerts=alerts,
            keep_runs_days=keep_runs_days,
        ),
        reference_to_caller(),
    )


def _model_variable(provider: object, model: str | None) -> str:
    if model is not None and provider not in ("local", "openai"):
        raise ConfigurationError("model: say whose it is, too, by provider: local or openai")
    return "EMBEDDING_OPENAI_MODEL" if provider == "openai" else "EMBEDDING_MODEL_NAME"


def _prefix_length(partitions: int | None) -> int | None:
    if partitions is None:
        return None
    if partitions not in _PREFIX_LENGTHS:
        raise ConfigurationError(f"partitions: there may be 16 or 256, not {partitions}")
    return _PREFIX_LENGTHS[partitions]


def _upstream(deps: str | Upstream | Sequence[str | Upstream]) -> tuple[Upstream, ...]:
    # Keys and specs are tuples, too.
    one = isinstance(deps, str | AssetKey | AssetSpec | AssetDep | AssetsDefinition)
    several: Any = [deps] if one else deps
    return tuple(_key_of(dep) if isinstance(dep, str) else dep for dep in several)


def _key_of(dep: str) -> AssetKey:
    if _TABLE_NAME.fullmatch(dep):
        # Hardly any asset has it, and nothing would say so: a table is called so in SQL, beside which this stands.
        raise ConfigurationError(
            f"deps: {dep!r} is called as a table; the parts of an asset's key are separated by /, as in "
            f"{dep.replace('.', '/')!r}. If the key has a dot, name it in Python: deps=AssetKey([{dep!r}])"
        )
    return AssetKey.from_user_string(dep)


def table_definitions(spec: TableSpec, reference: CodeReferencesMetadataValue | None) -> Definitions:
    """All definitions of a table, which refer to that code."""
    with warnings.catch_warnings():
        # Known and accepted; said above the output of every command, it means nothing to a user.
        warnings.simplefilter("ignore", BetaWarning)
        measured, judged = quality_assets(spec)
        job = table_job(spec)
        purge_jobs, purge_schedules = purging(spec)
        assets: list[AssetsDefinition | AssetSpec] = [
            *source_assets(spec), *documents_assets(spec), *rows_assets(spec), *table_assets(spec), *measured
        ]  # fmt: skip
        return Definitions(
            assets=[*with_reference(assets, reference)],
            asset_checks=[*table_checks(spec), *judged],
            resources=_resources(spec),
            jobs=[job, *purge_jobs],
            sensors=[*_sensors(spec, job)],
            schedules=[*_nightly(spec, job), *purge_schedules],
        )


def _resources(spec: TableSpec) -> dict[str, Any]:
    # Configured at launch, so that the provider sees what the launchpad sets for the model.
    model = ModelResource.configure_at_launch()
    return {
        spec.name(DATABASE_RESOURCE): PostgresResource(),
        spec.name(MODEL_RESOURCE): model,
        spec.name(PROVIDER_RESOURCE): EmbeddingProviderResource(model=model),
    }


def _nightly(spec: TableSpec, job: Any) -> list[ScheduleDefinition]:
    return [] if spec.schedule is None else [nightly_schedule(spec, spec.schedule, job)]


def _sensors(spec: TableSpec, job: Any) -> list[SensorDefinition]:
    running = [new_chunks_sensor(spec, job), index_health_sensor(spec)] if spec.sensors else []
    documents = [documents_sensor(spec, job)] if spec.sensors and spec.loads_documents else []
    return [
        *running,
        *documents,
        *rows_sensors(spec),
        *upstream_sensors(spec),
        *(alert_sensors(spec) if spec.alerts else []),
    ]
