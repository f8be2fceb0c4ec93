"""One embedded table of a code location: what its definitions are called, and what differs from the environment."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from dagster import (
    AssetExecutionContext,
    AssetKey,
    AssetsDefinition,
    BackfillPolicy,
    EnvVar,
    MaterializeResult,
    StaticPartitionsDefinition,
    asset,
)

from embedding_assets.config.overlay import check_variables, settings_with
from embedding_assets.errors import ConfigurationError
from embedding_assets.planning import all_prefixes

if TYPE_CHECKING:
    from dagster import AssetCheckExecutionContext, SensorEvaluationContext

    from embedding_assets.config import Settings
    from embedding_assets.defs.resources import EmbeddingProviderResource, PostgresResource
    from embedding_assets.postgres.connection import Database

    Context = AssetExecutionContext | AssetCheckExecutionContext | SensorEvaluationContext

Materialize = Callable[[AssetExecutionContext], MaterializeResult[Any] | Iterator[Any]]

DOCUMENTS: Final = "documents"
PENDING: Final = "chunks_pending"
EMBEDDINGS: Final = "chunk_embeddings"
HEALTH: Final = "pgvector_index_health"
QUALITY: Final = "retrieval_quality"

DATABASE_RESOURCE: Final = "embedding_database"
MODEL_RESOURCE: Final = "embedding_model"
PROVIDER_RESOURCE: Final = "embedding_provider"

_PART_OF_NAME: Final = re.compile(r'"(?:[^"]|"")+"|[^".\s]+')


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSpec:
    """What the definitions of a table are made from.

    Attributes:
        key_prefix: before the names of its assets; of jobs, sensors and resources too, with ``__`` between.
        variables: settings that differ from those of the environment, by the names of their variables.
        group_name: of its assets.
        owners: of its assets.
        tags: of its assets.
        deps: what ``chunks_pending`` comes after.
        schedule: when the nightly run comes, as in cron; None for never.
        sensors: whether new chunks and finished loads start runs.
        alerts: whether failed runs and checks of this table are posted to the webhook, if there is one.
    """

    key_prefix: tuple[str, ...] = ()
    variables: Mapping[str, object] = field(default_factory=dict)
    group_name: str = "embedding"
    owners: Sequence[str] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    deps: Sequence[AssetKey | AssetsDefinition] = ()
    schedule: str | None = "0 2 * * *"
    sensors: bool = True
    alerts: bool = True

    def settings(self) -> Settings:
        """Those of the environment with those of the table.

        Raises:
            ConfigurationError: a setting is not acceptable, or is to come from a variable that is not set.
        """
        values = {name: _value(name, value) for name, value in self.variables.items()}
        try:
            return settings_with(values)
        except ConfigurationError as error:
            raise ConfigurationError(f"{error}{self._where}") from None

    def settings_when_loaded(self) -> Settings:
        """The same while definitions are loaded, where what is to come from a variable is not known yet."""
        check_variables(self.variables)
        return settings_with({name: value for name, value in self.variables.items() if not isinstance(value, EnvVar)})

    @property
    def _where(self) -> str:
        return f"\nin the definitions of {'/'.join(self.key_prefix) or 'the table'}" if self.variables else ""

    def key(self, name: str) -> AssetKey:
        """Key of one of its assets."""
        return AssetKey([*self.key_prefix, name])

    def owns(self, key: AssetKey) -> bool:
        """Whether an asset is one of the table's."""
        return key.path[:-1] == [*self.key_prefix] and key.path[-1] in (DOCUMENTS, PENDING, EMBEDDINGS, HEALTH, QUALITY)

    def name(self, base: str) -> str:
        """Name of a job, sensor, op or resource."""
        return "__".join([*self.key_prefix, base])

    @property
    def loads_documents(self) -> bool:
        """Whether it is filled with documents that the settings name."""
        return bool(self.settings_when_loaded().loading.paths)

    @property
    def source(self) -> AssetKey | None:
        """The table whose rows are embedded, where nothing is known of what fills it."""
        if self.deps or self.loads_documents:
            return None
        relation = self.settings_when_loaded().source.relation or "knowledge_base"
        parts = [_plain(part) for part in _PART_OF_NAME.findall(relation)]
        return AssetKey([*self.key_prefix, *parts])

    @property
    def job_name(self) -> str:
        """Of the job that sensor and schedule run."""
        return self.name("embed_chunks")

    @property
    def partitions(self) -> StaticPartitionsDefinition:
        """By the first hex characters of ``chunk_hash``."""
        return StaticPartitionsDefinition(all_prefixes(self.settings_when_loaded().embedding.prefix_length))

    def asset(self, name: str, **options: Any) -> Callable[[Materialize], AssetsDefinition]:
        """Dagster's decorator, with what all assets of the table have in common."""
        decorate: Callable[[Materialize], AssetsDefinition] = asset(
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
        return decorate

    @property
    def resource_keys(self) -> set[str]:
        """Of what its assets, checks and sensors need."""
        return {self.name(DATABASE_RESOURCE), self.name(PROVIDER_RESOURCE)}

    def run_settings(self, context: Context) -> Settings:
        """The settings with what the launchpad, or the configuration of the resources, sets.

        Raises:
            ConfigurationError: a value is not acceptable.
        """
        provider: EmbeddingProviderResource = getattr(context.resources, self.name(PROVIDER_RESOURCE))
        return provider.apply(self.settings())

    def open(self, context: Context) -> AbstractContextManager[Database]:
        """The database with its table, started and migrated if need be, closed at the end."""
        database: PostgresResource = getattr(context.resources, self.name(DATABASE_RESOURCE))
        return database.open(self.settings())


def _plain(identifier: str) -> str:
    """An SQL identifier as part of a key."""
    return re.sub(r"\W", "_", identifier.strip('"'))


def _value(name: str, value: object) -> object:
    if not isinstance(value, EnvVar):
        return value
    found = value.get_value()
    if found is None:
        raise ConfigurationError(f"{name} is to come from {value.env_var_name}, which is not set; set it")
    return found
