"""One embedded table of a code location: what its definitions are called, and what differs from the environment."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from dagster import (
    AssetDep,
    AssetExecutionContext,
    AssetKey,
    AssetsDefinition,
    AssetSelection,
    AssetSpec,
    AutomationConditionSensorDefinition,
    BackfillPolicy,
    BetaWarning,
    DefaultSensorStatus,
    MaterializeResult,
    SensorEvaluationContext,
    StaticPartitionsDefinition,
    asset,
)

from embedding_assets.config.overlay import check_variables, settings_with
from embedding_assets.defs.failures import variables_set_by
from embedding_assets.defs.row_source import RowSource
from embedding_assets.defs.run_scope import in_run
from embedding_assets.defs.variables import is_late, is_of_environment, read, variable_of
from embedding_assets.encoder.threads import let_threads_sleep
from embedding_assets.errors import ConfigurationError, TableNotAdoptedError
from embedding_assets.identifiers import parts_of
from embedding_assets.planning import all_prefixes
from embedding_assets.postgres.lookup import OWN_TABLE

if TYPE_CHECKING:
    from dagster import AssetCheckExecutionContext

    from embedding_assets.config import Settings
    from embedding_assets.defs.resources import EmbeddingProviderResource, PostgresResource
    from embedding_assets.postgres.connection import Database

    Context = AssetExecutionContext | AssetCheckExecutionContext | SensorEvaluationContext

Upstream = AssetKey | AssetsDefinition | AssetSpec | AssetDep

Materialize = Callable[[AssetExecutionContext], MaterializeResult[Any] | Iterator[Any]]

DOCUMENTS: Final = "documents"
ROWS: Final = "synced_rows"
PENDING: Final = "chunks_pending"
EMBEDDINGS: Final = "chunk_embeddings"
HEALTH: Final = "pgvector_index_health"
QUALITY: Final = "retrieval_quality"

NAMES: Final = (DOCUMENTS, ROWS, PENDING, EMBEDDINGS, HEALTH, QUALITY)
"""Of all assets that a table may have."""

DATABASE_RESOURCE: Final = "embedding_database"
MODEL_RESOURCE: Final = "embedding_model"
PROVIDER_RESOURCE: Final = "embedding_provider"

_TABLE: Final = "EMBEDDING_TABLE"
_DATABASE: Final = "EMBEDDING_DATABASE_URL"
_DOCUMENTS: Final = "EMBEDDING_DOCUMENTS"
_SHAPING: Final = (
    "EMBEDDING_PREFIX_LENGTH",
    "EMBEDDING_RUN_TAGS",
    "EMBEDDING_EVALUATION_QUERIES",
    _DOCUMENTS,
)
"""Settings that definitions depend on, so that they must be known when those are loaded."""

_OF_OTHERS: Final = {f"EMBEDDING_TABLE_{of}" for of in ("KEY", "TEXT", "WHERE")}


def parts_of_prefix(prefix: str | Sequence[str]) -> tuple[str, ...]:
    """The prefix of a table's assets as ``TableSpec`` has it, from ``"shop/articles"`` or its parts.

    Raises:
        ConfigurationError: a part has other characters than names may have.
    """
    parts = tuple(part for part in prefix.split("/") if part) if isinstance(prefix, str) else tuple(prefix)
    for part in parts:
        if not re.fullmatch(r"[A-Za-z0-9_]+", part):
            raise ConfigurationError(
                f"key_prefix: {part!r} may have letters, digits and _ alone, since jobs and sensors are called by it"
            )
    return parts


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSpec:
    """What the definitions of a table are made from.

    Attributes:
        key_prefix: before the names of its assets; of jobs, sensors and resources too, with ``__`` between.
        variables: settings that differ from those of the environment, by the names of their variables; may be secret.
        adopt: whether the first run that embeds adopts the table.
        group_name: of its assets.
        owners: of its assets.
        tags: of its assets.
        deps: what fills the table, which ``chunk_embeddings`` follows; or what ``rows`` are read from.
        rows: tables and queries whose rows are split into its chunks.
        schedule: when the nightly run comes, as in cron; None for never.
        sensors: whether new chunks, finished loads and what is upstream start runs; ``every`` of ``rows`` holds anyway.
        alerts: whether failed runs and checks of this table are posted to the webhook, if there is one.
        keep_runs_days: after which a nightly job deletes the table's runs; None for never.
    """

    key_prefix: tuple[str, ...] = ()
    variables: Mapping[str, object] = field(default_factory=dict, repr=False)
    adopt: bool = False
    group_name: str = "embedding"
    owners: Sequence[str] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    deps: Sequence[Upstream] = ()
    rows: Sequence[RowSource] = ()
    schedule: str | None = "0 2 * * *"
    sensors: bool = True
    alerts: bool = True
    keep_runs_days: int | None = None
    _loaded: dict[object, Settings] = field(default_factory=dict, init=False, repr=False, compare=False)

    def settings(self) -> Settings:
        """Those of the environment with those of the table.

        Raises:
            ConfigurationError: a setting is not acceptable, or is to come from a variable that is not set.
        """
        values = {name: read(name, value) for name, value in self.variables.items()}
        try:
            return settings_with(values)
        except ConfigurationError as error:
            raise ConfigurationError(f"{error}{self._where}") from None

    def settings_when_loaded(self) -> Settings:
        """The same while definitions are loaded, where what is to come from a variable is not known yet.

        But for the table, if its variable is set by then: its name is no secret, and the graph shows it.

        Raises:
            ConfigurationError: a setting is not acceptable, or one that definitions depend on is to come from a
                variable that is not set.
        """
        # Asked some thirty times for one table, before each run: read again only after the environment has changed.
        environment = frozenset(os.environ.items())
        loaded = self._loaded.get(environment)
        if loaded is None:
            loaded = self._read_when_loaded()
            self._loaded.clear()
            self._loaded[environment] = loaded
        return loaded

    def _read_when_loaded(self) -> Settings:
        check_variables(self.variables)
        return settings_with(
            {
                name: read(name, value)
                for name, value in self.variables.items()
                if name in _SHAPING or not is_late(value) or (name == _TABLE and not self._table_is_unknown)
            }
        )

    @property
    def _table_is_unknown(self) -> bool:
        """Whether the table's name is to come from a variable that is not set yet."""
        variable = variable_of(self.variables.get(_TABLE))
        return variable is not None and variable not in os.environ

    @property
    def _where(self) -> str:
        return f"\nin the definitions of {'/'.join(self.key_prefix) or 'the table'}" if self.variables else ""

    def key(self, name: str) -> AssetKey:
        """Key of one of its assets."""
        return AssetKey([*self.key_prefix, name])

    def name(self, base: str) -> str:
        """Name of a job, sensor, op or resource."""
        return "__".join([*self.key_prefix, base])

    @property
    def loads_documents(self) -> bool:
        """Whether it is filled with documents that the settings name.

        Those that the environment names go into ``knowledge_base`` of its own database: a table of one's own, one with
        a database of its own, and one that rows are said for, are filled by others.

        Raises:
            ConfigurationError: they are named for this table, which is not ``knowledge_base``.
        """
        paths, named = self.settings_when_loaded().loading.paths, _DOCUMENTS in self.variables
        if not named and (self.rows or not is_of_environment(_DATABASE, self.variables.get(_DATABASE))):
            return False
        if paths and not self.is_own and named:
            raise ConfigurationError(
                "EMBEDDING_DOCUMENTS: documents go into knowledge_base, so leave the table out, or them out of its "
                f"settings{self._where}"
            )
        return bool(paths) and self.is_own

    @property
    def is_measured(self) -> bool:
        """Whether there are judged questions for it: those of the environment are of the table without a prefix."""
        if self.key_prefix and "EMBEDDING_EVALUATION_QUERIES" not in self.variables:
            return False
        return self.settings_when_loaded().evaluation.queries is not None

    @property
    def synced(self) -> dict[str, RowSource]:
        """Names of assets → sources of rows; of several by what they are called."""
        alone = len(self.rows) == 1
        return {ROWS if alone else f"{ROWS}_{source.label}": source for source in self.rows}

    @property
    def upstream(self) -> list[Upstream]:
        """What fills the table, as far as that is known: counting what is pending comes after it."""
        documents = [self.key(DOCUMENTS)] if self.loads_documents else []
        return [*([self.key(name) for name in self.synced] or self.deps), *documents]

    @property
    def is_own(self) -> bool:
        """Whether this package makes it: not if it is adopted or its columns are said, or while its name is unknown."""
        if self._table_is_unknown:
            return False
        table = self.settings_when_loaded().source
        if table.relation is None or self.rows:
            return True
        said = table.key or table.text or table.where or _OF_OTHERS & self.variables.keys()
        return parts_of(table.relation)[-1:] == [OWN_TABLE] and not (said or self.adopt)

    @property
    def source(self) -> AssetKey | None:
        """The table whose rows are embedded, where nothing is known of what fills it; None too if its name is not.

        A table of somebody's is called by its name alone: so an asset of theirs is upstream, whose key has no prefix of
        ours. Of ``knowledge_base`` each prefix may have another one.
        """
        if self.upstream or self._table_is_unknown:
            return None
        relation = self.settings_when_loaded().source.relation or OWN_TABLE
        parts = [re.sub(r"\W", "_", part) for part in parts_of(relation)]
        return AssetKey([*self.key_prefix, *parts] if self.is_own else parts)

    @property
    def location(self) -> dict[str, str]:
        """What Dagster's catalog finds the table by before the first run; empty where its schema is not known yet.

        Without the database, whose URL is mostly read late; a run adds its own name with it.
        """
        relation = "" if self._table_is_unknown else self.settings_when_loaded().source.relation or ""
        parts = parts_of(relation)
        return {"dagster/table_name": ".".join(parts)} if len(parts) > 1 else {}

    @property
    def computed_by(self) -> set[str]:
        """What makes the vectors, its fallback included, as Dagster's kinds: ``pytorch`` for a local model."""
        config = self.settings_when_loaded().embedding
        providers = {config.provider, config.fallback} - {None}
        return {"pytorch" if provider == "local" else str(provider) for provider in providers}

    @property
    def job_name(self) -> str:
        """Of the job that sensor and schedule run."""
        return self.name("embed_chunks")

    @property
    def purge_job_name(self) -> str:
        """Of the job that deletes old runs."""
        return self.name("purge_runs")

    @property
    def job_names(self) -> tuple[str, str]:
        """Of the jobs that belong to the table."""
        return self.job_name, self.purge_job_name

    @property
    def partitions(self) -> StaticPartitionsDefinition:
        """By the first hex characters of ``chunk_hash``."""
        return StaticPartitionsDefinition(all_prefixes(self.settings_when_loaded().embedding.prefix_length))

    def asset(self, name: str, **options: Any) -> Callable[[Materialize], AssetsDefinition]:
        """Dagster's decorator, with what all assets of the table have in common."""
        with warnings.catch_warnings():
            # Known and accepted; a warning above the output of every command says nothing to a user.
            warnings.filterwarnings("ignore", category=BetaWarning, message="Parameter `backfill_policy`")
            as_asset: Callable[[Materialize], AssetsDefinition] = asset(
                name=name,
                key_prefix=list(self.key_prefix) or None,
                group_name=self.group_name,
                owners=list(self.owners) or None,
                tags=dict(self.tags) or None,
                required_resource_keys=self.resource_keys,
                # Every asset in one run of many partitions needs this policy, the unpartitioned ones too.
                backfill_policy=BackfillPolicy.single_run(),
                **options,
            )

        def decorate(function: Materialize) -> AssetsDefinition:
            return as_asset(in_run(self.set_here)(function))

        return decorate

    def condition_sensor(
        self, base: str, asset_names: Sequence[str], description: str, **options: Any
    ) -> AutomationConditionSensorDefinition:
        """A sensor that evaluates the automation conditions of some of the table's assets."""
        return AutomationConditionSensorDefinition(
            self.name(base),
            target=AssetSelection.assets(*map(self.key, asset_names)),
            default_status=DefaultSensorStatus.RUNNING,
            minimum_interval_seconds=30,
            run_tags=self.settings_when_loaded().embedding.run_tags,
            description=description,
            **options,
        )

    def set_here(self, context: Context) -> dict[str, str]:
        """Variable → what sets it in this run, where that is not the environment."""
        definitions = f"the definitions of {'/'.join(self.key_prefix) or 'the table'}"
        database: PostgresResource = getattr(context.resources, self.name(DATABASE_RESOURCE))
        provider: EmbeddingProviderResource = getattr(context.resources, self.name(PROVIDER_RESOURCE))
        return {
            **dict.fromkeys(self.variables, definitions),
            **variables_set_by(database, self.name(DATABASE_RESOURCE)),
            **variables_set_by(provider.model, self.name(MODEL_RESOURCE)),
            **variables_set_by(provider, self.name(PROVIDER_RESOURCE)),
        }

    @property
    def resource_keys(self) -> set[str]:
        """Of what its assets, checks and sensors need."""
        return {self.name(DATABASE_RESOURCE), self.name(PROVIDER_RESOURCE)}

    def run_settings(self, context: Context) -> Settings:
        """The settings with what the launchpad, or the configuration of the resources, sets.

        Raises:
            ConfigurationError: a value is not acceptable.
        """
        if not isinstance(context, SensorEvaluationContext):
            # In the process of a step alone, and before torch is loaded: what a code server's environment has, runs of
            # assets that are not ours would inherit.
            let_threads_sleep()
        provider: EmbeddingProviderResource = getattr(context.resources, self.name(PROVIDER_RESOURCE))
        database: PostgresResource = getattr(context.resources, self.name(DATABASE_RESOURCE))
        return database.apply(provider.apply(self.settings()))

    @contextmanager
    def open(self, context: Context) -> Iterator[Database]:
        """The database with its table, started, migrated and adopted if need be, closed at the end.

        Adopted by a run that embeds alone: what only looks at a table changes nothing of it.

        Raises:
            DatabaseError: it cannot be reached, lacks pgvector, or refuses what is needed.
            TableNotAdoptedError: the table was not adopted, and is not to be, or not here.
        """
        resource: PostgresResource = getattr(context.resources, self.name(DATABASE_RESOURCE))
        settings = self.settings()
        with ExitStack() as opened:
            try:
                database = opened.enter_context(resource.open(settings))
            except TableNotAdoptedError as error:
                if not self.adopt:
                    raise TableNotAdoptedError(
                        f"{error}, and `adopt` in its definitions does it{self._where}"
                    ) from None
                if not self._embeds(context):
                    raise TableNotAdoptedError(
                        f"{settings.source.relation} is not adopted yet; the first run over "
                        f"{self.key(EMBEDDINGS).to_user_string()} adopts it"
                    ) from None
                resource.adopt(settings)
                database = opened.enter_context(resource.open(settings))
            yield database

    @contextmanager
    def before_adoption(self, context: Context) -> Iterator[Database]:
        """The database with the table as it will be once a run has adopted it; it is read alone.

        Raises:
            ConfigurationError: something stands against adopting it.
            DatabaseError: the database cannot be reached, or a right is missing.
        """
        resource: PostgresResource = getattr(context.resources, self.name(DATABASE_RESOURCE))
        with resource.before_adoption(self.settings()) as database:
            yield database

    def _embeds(self, context: Context) -> bool:
        """Whether the context is of a run over the vectors."""
        if isinstance(context, SensorEvaluationContext):
            return False
        return self.key(EMBEDDINGS) in context.job_def.asset_layer.selected_asset_keys
