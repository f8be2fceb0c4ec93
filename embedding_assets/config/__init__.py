"""Settings, read from the environment (prefix ``EMBEDDING_``) and validated before any work starts."""

from __future__ import annotations

import os
import re
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import platformdirs
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from embedding_assets.config.database import DatabaseConfig as DatabaseConfig
from embedding_assets.config.documents import DocumentsConfig as DocumentsConfig
from embedding_assets.config.environment import (
    EnvironmentSettings,
    describe_malformed_json,
    describe_validation_error,
    is_web_address,
)
from embedding_assets.config.evaluation import EvaluationConfig as EvaluationConfig
from embedding_assets.config.openai import OpenAIConfig as OpenAIConfig
from embedding_assets.config.ray import RayConfig as RayConfig
from embedding_assets.config.rerank import RerankConfig as RerankConfig
from embedding_assets.config.search import SearchConfig as SearchConfig
from embedding_assets.config.search import SearchMode as SearchMode
from embedding_assets.config.serve import ServeConfig as ServeConfig
from embedding_assets.config.table import TableConfig as TableConfig
from embedding_assets.config.unknown import warn_of_unknown
from embedding_assets.errors import ConfigurationError

Group = Literal[
    "database", "source", "loading", "embedding", "openai", "budget", "index", "search", "rerank", "evaluation", "ray",
    "logging",
]  # fmt: skip

HeaderChoice = Literal["all", "headings", "title", "none"]

DEFAULT_MODEL_NAME = "sentence-transformers/all-mpnet-base-v2"
DEFAULT_MODEL_REVISION = "e8c3b32edf5434bc2275fc9bab85f82640a19130"


def _default_data_dir() -> Path:
    # PostgreSQL never runs as root: the embedded server then gets a system user of its own, which must be able to
    # enter every parent of the data folder. A private home is no place for that.
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return Path("/var/lib/embedding_assets")
    return Path(platformdirs.user_data_dir("embedding_assets", appauthor=False))


class EmbeddingConfig(EnvironmentSettings):
    """The model, and how chunks are embedded with it."""

    model_config = SettingsConfigDict(env_prefix="EMBEDDING_")

    provider: Literal["local", "openai"] = Field(
        "local", description="Provider of the vectors. Unset: that of the vectors that serve searches, else `local`."
    )
    fallback: Literal["local", "openai"] | None = Field(
        None, description="Provider that stands in while the other is down, with a column of its own. Unset: none."
    )
    model_name: str = Field(
        DEFAULT_MODEL_NAME,
        min_length=1,
        description="Hugging Face model or a folder. Unset: the model the table is already embedded with, "
        "else the default.",
    )
    model_revision: str | None = Field(
        None, description="Commit of the model repository. Unset: pinned for the default model, else `main`."
    )
    dimensions: int = Field(
        768,
        ge=1,
        le=16_000,
        description="Length of a vector: the model's, or less where that may be. Above 2,000 its numbers have 2 bytes "
        "instead of 4; above 4,000 `EMBEDDING_INDEX_TYPE` must be `bit`.",
    )
    document_prompt: str | None = Field(
        None, description="Put before every document, e.g. `passage: `. Unset: what the model's files say."
    )
    query_prompt: str | None = Field(
        None,
        description="Put before every question. Unset: as last set for the space, else what the model's files say.",
    )
    similarity: Literal["cosine", "dot", "euclidean", "manhattan"] | None = Field(
        None,
        description="What searches rank by. Unset: as last set for the space, else what the model's files say, else "
        "`cosine`.",
    )
    max_seq_length: int = Field(
        384, ge=8, le=32768, description="Tokens of a text that are read; the rest is cut off and counted."
    )
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$",
        description="`auto` (CUDA, of several GPUs the one with the "
        "fewest of these processes; then MPS, then CPU) or one of them.",
    )
    precision: Literal["auto", "float32", "bfloat16", "int8"] = Field(
        "auto",
        description="Number format of the model's layers: `auto` is bfloat16 where that computes faster, else float32; "
        "`int8`, on CPUs where that pays, makes a space of its own.",
    )
    threads: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="Threads that compute on a CPU. Unset: `OMP_NUM_THREADS`, else one for each core that the process "
        "may use by its affinity and its cgroup's quota.",
    )
    batch_size: int = Field(32, ge=1, le=512, description="Most texts in one forward pass. Unset on a GPU: 2,048.")
    batch_tokens: int | None = Field(
        None,
        ge=64,
        description="Most padded tokens in one forward pass. Unset: 32,768 on a GPU; on a CPU 384, or in bfloat16 "
        "2,048, and 768 where batches are computed side by side.",
    )
    window_size: int = Field(2048, ge=1, le=100_000, description="Chunks fetched and ordered by length together.")
    commit_seconds: float = Field(2.0, gt=0, le=600, description="Embedded chunks are committed at least this often.")
    max_attempts: int = Field(3, ge=1, le=100, description="Failures of one chunk before it is quarantined.")
    retry_delay_seconds: float = Field(
        300.0, ge=0, le=604_800, description="Wait before a failed chunk is tried again; doubles with each attempt."
    )
    prefix_length: Literal[1, 2] = Field(1, description="Hex characters of `chunk_hash` in a partition key.")
    parallel_runs: int = Field(
        1,
        ge=1,
        le=256,
        description="Runs over which the sensor spreads more than a thousand due chunks, a range of prefixes each: as "
        "many as machines, pods or devices embed side by side. No more than there are prefixes.",
    )
    run_tags: dict[str, Any] = Field(
        {},
        description='Tags of the Dagster runs that sensor and schedule start, as JSON: `{"dagster/priority": "1"}`. By '
        "`dagster-k8s/config` a run gets the pod it needs.",
    )
    new_space: bool = Field(
        False, description="Allow another model than the table's: its vectors get a column and an index of their own."
    )
    throughput_floor: float = Field(10.0, ge=0, description="Chunks per second below which the check warns.")
    coverage_floor: float = Field(1.0, ge=0, le=1, description="Share of chunks embedded below which the check warns.")
    recall_floor: float = Field(0.9, ge=0, le=1, description="recall@10 below which the check warns.")
    backlog_age_hours: float = Field(
        24.0, gt=0, le=8760, description="Hours a chunk may be pending before the check warns."
    )
    chunk_tokens: int = Field(
        256, ge=16, le=32768, description="Most tokens of a chunk made by `load`, header included."
    )
    chunk_overlap: int = Field(0, ge=0, description="Tokens that neighbouring chunks share.")
    chunk_header: HeaderChoice = Field(
        "all",
        description="What is embedded in front of a chunk made by `load`: its document's title and the headings above "
        "it, one of both, or nothing. A chunk shows all of them either way.",
    )
    hub_timeout_seconds: float = Field(5.0, gt=0, le=300, description="Longest wait for an answer of the model hub.")

    @field_validator("prefix_length", mode="before")
    @classmethod
    def _integer_from_text(cls, value: object) -> object:
        return int(value) if isinstance(value, str) and value.strip().isdigit() else value

    @model_validator(mode="after")
    def _overlap_is_smaller_than_a_chunk(self) -> EmbeddingConfig:
        if self.chunk_overlap >= self.chunk_tokens // 2:
            raise ValueError("EMBEDDING_CHUNK_OVERLAP must be less than half of EMBEDDING_CHUNK_TOKENS")
        return self

    @property
    def is_int8(self) -> bool:
        """Whether a local model is to compute documents in int8, in a space of their own."""
        return self.precision == "int8"

    @property
    def pinned_revision(self) -> str | None:
        """The revision to load: the configured one, or the pinned one of the default model."""
        if self.model_revision is None and self.model_name == DEFAULT_MODEL_NAME:
            return DEFAULT_MODEL_REVISION
        return self.model_revision


class IndexConfig(EnvironmentSettings):
    """The HNSW index (https://github.com/pgvector/pgvector#hnsw)."""

    model_config = SettingsConfigDict(env_prefix="EMBEDDING_INDEX_")

    type: Literal["vector", "halfvec", "bit"] | None = Field(
        None,
        description="What the index holds of a vector: numbers of 4 bytes, of 2, or their signs. Unset: what the index "
        "that is there holds; a new one the numbers of the column.",
    )
    m: int = Field(16, ge=2, le=100, description="Links of a node in the graph.")
    ef_construction: int = Field(64, ge=4, le=1000, description="Candidates examined while building.")
    ef_search: int = Field(40, ge=1, le=1000, description="Candidates examined while searching.")
    memory_mb: int | None = Field(
        None,
        ge=64,
        le=1_000_000,
        description="Most `maintenance_work_mem` for a build. Unset: half of what is free where the server is on this "
        "machine; elsewhere its `shared_buffers` or `maintenance_work_mem`, if that is more than 1,024.",
    )
    workers: int | None = Field(
        None,
        ge=0,
        le=64,
        description="Parallel workers for a build. Unset: one for each further core where the server is on this "
        "machine, elsewhere its `max_parallel_maintenance_workers`.",
    )
    bloat_ceiling: float = Field(
        1.5, ge=1.1, le=100, description="Size, as a multiple of a fresh index's, above which it is rebuilt."
    )
    recall_drop: float = Field(
        0.02, ge=0, le=1, description="Fall of recall@10 below the last accepted value above which the check warns."
    )

    @model_validator(mode="after")
    def _graph_is_buildable(self) -> IndexConfig:
        if self.ef_construction < 2 * self.m:
            raise ValueError("EMBEDDING_INDEX_EF_CONSTRUCTION must be at least twice EMBEDDING_INDEX_M")
        return self


class BudgetConfig(EnvironmentSettings):
    """Limits in dollars, held by all processes on one database together."""

    model_config = SettingsConfigDict(env_prefix="EMBEDDING_BUDGET_")

    usd_per_run: Decimal | None = Field(None, gt=0, description="Most a run may cost.")
    usd_per_day: Decimal | None = Field(None, gt=0, description="Most a day (UTC) may cost, all runs together.")
    usd_per_month: Decimal | None = Field(None, gt=0, description="Most a month (UTC) may cost, all runs together.")
    alert_share: float = Field(0.8, gt=0, le=1, description="Share of a limit from which log, check and sensor warn.")

    @property
    def is_limited(self) -> bool:
        """True if any limit is set."""
        return any(limit is not None for limit in (self.usd_per_run, self.usd_per_day, self.usd_per_month))

    def warns_at(self, used: float) -> bool:
        """True if that share of a limit is one to warn at."""
        return used >= self.alert_share


class AlertConfig(EnvironmentSettings):
    """The webhook for alerts on failed runs and checks."""

    model_config = SettingsConfigDict(env_prefix="EMBEDDING_ALERT_")

    webhook_url: SecretStr | None = Field(
        None, description="URL that failed runs and checks are posted to as JSON, e.g. a webhook of Slack. Unset: none."
    )
    warnings: bool = Field(False, description="Post failed checks that only warn, too.")

    @field_validator("webhook_url")
    @classmethod
    def _webhook_url_is_one(cls, value: SecretStr | None) -> SecretStr | None:
        url = value.get_secret_value().strip() if value else ""
        if url and not (is_web_address(url) and re.fullmatch(r"[!-~]+", url)):
            raise ValueError("is not a URL such as https://hooks.slack.com/services/…, without user and password")
        return SecretStr(url) if url else None


class LoggingConfig(EnvironmentSettings):
    """Logs of the command line; inside Dagster its own handlers decide."""

    model_config = SettingsConfigDict(env_prefix="EMBEDDING_LOG_")

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("WARNING", description="Least severity that is shown.")
    format: Literal["json", "text"] = Field("json", description="One JSON object a line, or plain text.")


class Settings(EnvironmentSettings):
    """Everything that can be set, in groups."""

    model_config = SettingsConfigDict(env_prefix="EMBEDDING_")

    data_dir: Path = Field(
        default_factory=_default_data_dir, description="Folder of the embedded server, Dagster's home and demo model."
    )
    database: DatabaseConfig = Field(default_factory=DatabaseConfig)
    source: TableConfig = Field(default_factory=TableConfig)
    loading: DocumentsConfig = Field(default_factory=DocumentsConfig)
    embedding: EmbeddingConfig = Field(default_factory=EmbeddingConfig)
    openai: OpenAIConfig = Field(default_factory=OpenAIConfig)
    budget: BudgetConfig = Field(default_factory=BudgetConfig)
    index: IndexConfig = Field(default_factory=IndexConfig)
    search: SearchConfig = Field(default_factory=SearchConfig)
    rerank: RerankConfig = Field(default_factory=RerankConfig)
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    ray: RayConfig = Field(default_factory=RayConfig)
    serve: ServeConfig = Field(default_factory=ServeConfig)
    alert: AlertConfig = Field(default_factory=AlertConfig)
    logging: LoggingConfig = Field(default_factory=LoggingConfig)

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        try:
            return value.expanduser().absolute()
        except RuntimeError as error:  # ~ of a user without a home
            raise ValueError(str(error)) from None

    def with_embedding(self, **changes: object) -> Settings:
        """A copy with other embedding settings; see ``with_group``."""
        return self.with_group("embedding", **changes)

    def with_group(self, group: Group, **changes: object) -> Settings:
        """A copy with other settings in a group, validated; they count as explicitly set.

        Raises:
            ConfigurationError: a value is not acceptable.
        """
        current: EnvironmentSettings = getattr(self, group)
        try:
            changed = type(current)(**{**current.model_dump(exclude_unset=True), **changes})
        except ValidationError as error:
            prefix = str(current.model_config["env_prefix"])
            raise ConfigurationError("\n".join(describe_validation_error(error, prefix))) from None
        return self.model_copy(update={group: changed})

    def with_patience(self, seconds: float) -> Settings:
        """A copy for somebody who waits for one answer: an API has ``seconds`` for it, whatever hinders it."""
        config = self.openai
        changes = {
            "retry_seconds": min(config.retry_seconds, seconds),
            "timeout_seconds": min(config.timeout_seconds, seconds),
            "wait_seconds": seconds if config.wait_seconds is None else min(config.wait_seconds, seconds),
        }
        return self.model_copy(update={"openai": config.model_copy(update=changes)})


def get_settings() -> Settings:
    """Read the settings from the environment.

    Raises:
        ConfigurationError: a variable is malformed; the message names each one and what it accepts.
    """
    warn_of_unknown(_known_variables())
    groups: dict[str, BaseSettings] = {}
    problems: list[str] = []
    for name, field in Settings.model_fields.items():
        group = field.default_factory
        if not (isinstance(group, type) and issubclass(group, EnvironmentSettings)):
            continue
        try:
            groups[name] = group()
        except ValidationError as error:
            problems += describe_validation_error(error, str(group.model_config["env_prefix"]))
        except SettingsError as error:
            problems.append(describe_malformed_json(error, group))
    if problems:
        raise ConfigurationError("\n".join(problems))
    try:
        return Settings(**groups)  # type: ignore[arg-type]
    except ValidationError as error:
        raise ConfigurationError("\n".join(describe_validation_error(error, "EMBEDDING_"))) from None
    except SettingsError:
        names = ", ".join(f"EMBEDDING_{name.upper()}" for name in groups if f"EMBEDDING_{name.upper()}" in os.environ)
        raise ConfigurationError(
            f"{names} is not a setting but the beginning of several, e.g. EMBEDDING_INDEX_M; unset it"
        ) from None


def _known_variables() -> set[str]:
    """The names of all settings, and of the groups, which are refused with advice of their own."""
    groups = {name: field.annotation for name, field in Settings.model_fields.items()}
    names = {f"EMBEDDING_{name}".upper() for name in groups}
    for group in groups.values():
        if isinstance(group, type) and issubclass(group, EnvironmentSettings):
            names |= {group.variable(field) for field in group.model_fields}
    return names
