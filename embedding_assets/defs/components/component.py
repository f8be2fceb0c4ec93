"""What the components have in common: where the vectors come from, what they may cost, how the assets are called."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Annotated, Any, Literal

import dagster as dg
from pydantic import ConfigDict, Field

from embedding_assets.defs.components.templating import (
    LateNumber,
    LateSettings,
    LateText,
    LateWord,
    OptionalText,
    Tags,
    Text,
    Texts,
    resolve_late,
)
from embedding_assets.defs.factory import NIGHTLY, build_embedding_definitions
from embedding_assets.errors import ConfigurationError

PRODUCES = ["asset", "asset_check", "job", "resource", "schedule", "sensor"]


class Budget(dg.Model, dg.Resolvable):
    """Limits in dollars, which all processes on the database hold together."""

    usd_per_run: LateNumber = Field(default=None, description="Most a run may cost; it stops there, and keeps what it has.")
    usd_per_day: LateNumber = Field(default=None, description="Most a day (UTC) may cost, all runs together.")
    usd_per_month: LateNumber = Field(default=None, description="Most a month (UTC) may cost, all runs together.")
    alert_share: LateNumber = Field(
        default=None, description="Share of a limit from which the check costs_within_budget warns, e.g. 0.8."
    )

    def variables(self) -> dict[str, object]:
        """The settings that hold it."""
        return {
            f"EMBEDDING_BUDGET_{name.upper()}": value
            for name in type(self).model_fields
            if (value := getattr(self, name)) is not None
        }


class Automation(dg.Model, dg.Resolvable):
    """What runs by itself. All of it needs Dagster's daemon, which `dg dev` starts."""

    schedule: OptionalText = Field(
        default=NIGHTLY,
        description="When the run over everything comes, as in cron (UTC); null for never. It picks up retries that are "
        "due, and measures the index.",
    )
    sensors: bool = Field(
        default=True, description="Whether new chunks, finished loads and what is upstream start runs, within a minute."
    )
    alerts: bool = Field(
        default=True, description="Whether failed runs and checks are posted to EMBEDDING_ALERT_WEBHOOK_URL, if it is set."
    )


class EmbeddedComponent(dg.Component, dg.Model, dg.Resolvable):
    """Fields of every component of an embedded table."""

    # An error must not quote what was given: it may be a password.
    model_config = ConfigDict(hide_input_in_errors=True)

    database_url: LateText = Field(
        default=None,
        repr=False,
        description='URL of the database, by a variable: "{{ env.SHOP_DATABASE_URL }}", which is read when a run or '
        "sensor needs it. Left out: EMBEDDING_DATABASE_URL, or else a PostgreSQL that is bundled.",
        examples=["{{ env.SHOP_DATABASE_URL }}"],
    )
    provider: Literal["local", "openai"] | None = Field(
        default=None,
        description="Who embeds: local, a model on this machine, or openai, also for servers that speak its API. "
        "Left out: EMBEDDING_PROVIDER, or else local.",
    )
    fallback: Literal["local", "openai"] | None = Field(
        default=None, description="The provider that stands in while the first one is down. Left out: EMBEDDING_FALLBACK."
    )
    # Its name in Python: `model` is a method of Resolvable.
    model_name: Annotated[
        LateWord | None,
        dg.Resolver(resolve_late, model_field_name="model", model_field_type=str, inject_before_resolve=False),
    ] = Field(
        default=None,
        description="The provider's model, by its name, or a folder for the local one; `provider` is said then. Other "
        "models need other columns: changing it embeds everything again.",
        examples=["text-embedding-3-small", "sentence-transformers/all-mpnet-base-v2"],
    )
    budget: Budget | None = Field(default=None, description="Limits in dollars. Left out: EMBEDDING_BUDGET_….")
    settings: LateSettings = Field(
        default_factory=dict,
        repr=False,
        description="Any other settings by the names of their variables; secrets by variables of their own, as in "
        'EMBEDDING_OPENAI_API_KEY: "{{ env.SHOP_OPENAI_KEY }}".',
        examples=[{"EMBEDDING_INDEX_M": 32}],
    )
    key_prefix: Texts = Field(
        default_factory=list,
        description='Before the names of its assets: "shop", "shop/articles" or [shop, articles]. Jobs, sensors and '
        "resources are called by it too. Two tables in one project need two.",
        examples=["shop/articles"],
    )
    group: Text = Field(default="embedding", description="Group of its assets in the catalog.")
    owners: Texts = Field(
        default_factory=list, description="Of its assets: addresses, or teams as in team:search.", examples=[["team:search"]]
    )
    tags: Tags = Field(default_factory=dict, description="Tags of its assets.")
    deps: Texts = Field(
        default_factory=list,
        description="Keys of assets of yours that bring the rows, e.g. shop/articles. Once one was materialized, the "
        "vectors follow.",
        examples=[["shop/articles"]],
    )
    partitions: Literal[16, 256] | None = Field(
        default=None,
        description="Of chunk_embeddings, by hash: 16, or 256 for tables of many millions. Left out: 16.",
    )
    automation: Automation | None = Field(default=None, description="What runs by itself. Left out: all of it.")

    @abstractmethod
    def arguments(self) -> dict[str, Any]:
        """What this kind of component says to ``build_embedding_definitions`` beyond the common fields."""

    @abstractmethod
    def paths(self, root: Path) -> list[str] | None:
        """Documents to load, of a project with this root; None for those that the environment names."""

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """All definitions of the table.

        Raises:
            ConfigurationError: a setting is unknown or not acceptable, or two fields do not go together.
        """
        automation = self.automation or Automation()
        budget = self.budget.variables() if self.budget else {}
        if twice := sorted(set(budget) & set(self.settings)):
            raise ConfigurationError(f"{', '.join(twice)}: given twice, in `budget` and in `settings`")
        documents = self.paths(context.project_root)
        loading = {} if documents is None else {"EMBEDDING_DOCUMENTS": documents}
        return build_embedding_definitions(
            **self.arguments(),
            database_url=self.database_url,
            provider=self.provider,
            fallback=self.fallback,
            model=self.model_name,
            settings={**loading, **budget, **self.settings},
            key_prefix=self.key_prefix,
            partitions=self.partitions,
            group_name=self.group,
            owners=self.owners,
            tags=self.tags,
            deps=self.deps,
            schedule=automation.schedule,
            sensors=automation.sensors,
            alerts=automation.alerts,
        )
