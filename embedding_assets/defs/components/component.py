"""What the components have in common: where the vectors come from, what they may cost, how the assets are called."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Annotated, Any, Literal

import dagster as dg
from pydantic import ConfigDict, Field

from embedding_assets.config.overlay import check_variables
from embedding_assets.defs.components.templating import LateText, at_load, late, plain
from embedding_assets.defs.factory import NIGHTLY, build_embedding_definitions
from embedding_assets.errors import ConfigurationError

PRODUCES = ["asset", "asset_check", "job", "resource", "schedule", "sensor"]

Dollars = float | LateText | None
_DOLLARS = float | str | None
_NAMES = str | list[str]


class Budget(dg.Model, dg.Resolvable):
    """Limits in dollars, which all processes on the database hold together."""

    usd_per_run: Annotated[
        Dollars, late(_DOLLARS, "Most a run may cost, in dollars; it stops there, and keeps what it has.")
    ] = None
    usd_per_day: Annotated[Dollars, late(_DOLLARS, "Most a day (UTC) may cost, all runs together.")] = None
    usd_per_month: Annotated[Dollars, late(_DOLLARS, "Most a month (UTC) may cost, all runs together.")] = None
    alert_share: Annotated[
        Dollars, late(_DOLLARS, "Share of a limit from which the check costs_within_budget warns. Left out: 0.8.")
    ] = None

    def variables(self) -> dict[str, object]:
        """The settings that hold it."""
        return {
            f"EMBEDDING_BUDGET_{name.upper()}": value
            for name in type(self).model_fields
            if (value := getattr(self, name)) is not None
        }


class Automation(dg.Model, dg.Resolvable):
    """What runs by itself. All of it needs Dagster's daemon, which `dg dev` starts."""

    schedule: Annotated[
        str | None,
        at_load(
            str | None,
            "When the run over everything comes, as in cron (UTC); null for never. It picks up retries that are due, "
            "and measures the index.",
        ),
    ] = NIGHTLY
    sensors: Annotated[
        bool,
        plain(
            "Whether new chunks, finished loads and what is upstream start runs, within a minute. The times of `every` "
            "hold either way."
        ),
    ] = True
    alerts: Annotated[
        bool, plain("Whether failed runs and checks are posted to EMBEDDING_ALERT_WEBHOOK_URL, if it is set.")
    ] = True
    keep_runs_days: Annotated[
        int | None,
        plain(
            "Days after which the table's finished runs are deleted, every night, but those that the catalog shows. "
            "Left out: never; Dagster itself deletes none."
        ),
    ] = None


class EmbeddedComponent(dg.Component, dg.Model, dg.Resolvable):
    """Fields of every component of an embedded table."""

    # An error must not quote what was given: it may be a password.
    model_config = ConfigDict(hide_input_in_errors=True)

    database_url: Annotated[
        LateText | None,
        late(
            str | None,
            'URL of the database, by a variable: "{{ env.SHOP_DATABASE_URL }}", which is read when a run or sensor '
            "needs it. Left out: EMBEDDING_DATABASE_URL, or else a PostgreSQL that is bundled.",
            examples=["{{ env.SHOP_DATABASE_URL }}"],
        ),
    ] = Field(default=None, repr=False)
    provider: Annotated[
        Literal["local", "openai"] | None,
        plain(
            "Who embeds: local, a model on this machine, or openai, also for servers that speak its API. "
            "Left out: EMBEDDING_PROVIDER, or else local."
        ),
    ] = None
    fallback: Annotated[
        Literal["local", "openai"] | None,
        plain("The provider that stands in while the first one is down. Left out: EMBEDDING_FALLBACK."),
    ] = None
    # Its name in Python, since `model` is a method of Resolvable.
    model_name: Annotated[
        LateText | None,
        late(
            str | None,
            "The provider's model, by its name, or a folder for the local one; `provider` is said then. Another model "
            "gets a column of its own: changing it embeds everything again.",
            examples=["text-embedding-3-small", "sentence-transformers/all-mpnet-base-v2"],
            name="model",
        ),
    ] = None
    budget: Annotated[Budget | None, plain("Limits in dollars. Left out: those of the environment.")] = None
    settings: Annotated[
        dict[str, Any],
        late(
            dict[str, Any],
            "Any other settings by the names of their variables; secrets by variables of their own, as in "
            'EMBEDDING_OPENAI_API_KEY: "{{ env.SHOP_OPENAI_KEY }}".',
            examples=[{"EMBEDDING_INDEX_M": 32}],
            check=check_variables,
        ),
    ] = Field(default_factory=dict, repr=False)
    key_prefix: Annotated[
        str | list[str],
        at_load(
            _NAMES,
            'Before the names of its assets: "shop", "shop/articles" or [shop, articles]. Jobs, sensors and resources '
            "are called by it too. Two tables in one project need two.",
            examples=["shop/articles"],
        ),
    ] = Field(default_factory=list)
    group: Annotated[str, at_load(str, "Group of its assets in the catalog.")] = "embedding"
    owners: Annotated[
        str | list[str],
        at_load(_NAMES, "Of its assets: addresses, or teams as in team:search.", examples=[["team:search"]]),
    ] = Field(default_factory=list)
    tags: Annotated[dict[str, str], at_load(dict[str, str], "Tags of its assets.")] = Field(default_factory=dict)
    deps: Annotated[
        str | list[str],
        at_load(
            _NAMES,
            "Keys of assets of yours that bring the rows, e.g. shop/articles. Once one was materialized, the vectors "
            "follow.",
            examples=[["shop/articles"]],
        ),
    ] = Field(default_factory=list)
    partitions: Annotated[
        Literal[16, 256] | None,
        plain("Of chunk_embeddings, by hash: 16, or 256 for tables of many millions. Left out: 16."),
    ] = None
    automation: Annotated[Automation | None, plain("What runs by itself. Left out: all of it.")] = None

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
            keep_runs_days=automation.keep_runs_days,
        )
