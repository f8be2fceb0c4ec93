"""The one record of a table's state: the page, the report, the figures and ``status --json`` show what is in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from pydantic import SecretStr

from embedding_assets.config.environment import EnvironmentSettings
from embedding_assets.health.embeddings import THROUGHPUT_MINIMUM_CHUNKS
from embedding_assets.postgres.lookup import OWN_TABLE

if TYPE_CHECKING:
    from embedding_assets.config import BudgetConfig, Settings
    from embedding_assets.health.verdict import Verdict
    from embedding_assets.postgres.backlog import Backlog
    from embedding_assets.postgres.catalog import IndexState
    from embedding_assets.postgres.index.measurements import IndexMeasurement
    from embedding_assets.postgres.index.recall import CurvePoint
    from embedding_assets.postgres.index.statistics import VectorStatistics
    from embedding_assets.postgres.prefixes import PrefixCounts
    from embedding_assets.postgres.runs import PastRun
    from embedding_assets.postgres.usage.ledger import DayCost, Spending
    from embedding_assets.spaces import SpaceColumn, VectorSpace


@dataclass(frozen=True, slots=True)
class SpaceOverview:
    """One vector space.

    Attributes:
        name: of the space.
        column: the space, its column and the name of its index.
        configured: whether the settings lead to it.
        backlog: its chunks by state.
        prefixes: the same by prefix, in order.
        failures: error code → chunks that failed with it last.
        runs: the latest runs, oldest first.
        index: what PostgreSQL knows of its index.
        vectors: statistics of its vectors and of the table.
        measurement: what was last measured of the index; None if it never was, or there is no valid index any more.
        checks: verdicts on it.
        unchecked: names of checks that its vectors have still to pass: they need the model, which no overview loads.
    """

    name: str
    column: SpaceColumn
    configured: bool
    backlog: Backlog
    prefixes: tuple[PrefixCounts, ...]
    failures: Mapping[str, int]
    runs: tuple[PastRun, ...]
    index: IndexState
    vectors: VectorStatistics
    measurement: IndexMeasurement | None
    checks: tuple[Verdict, ...]
    unchecked: tuple[str, ...] = ()

    @property
    def curve(self) -> tuple[CurvePoint, ...]:
        """Recall and latency by rising ``ef_search``; empty if that was not measured."""
        return self.measurement.search.curve if self.measurement else ()

    @property
    def exact_p50_ms(self) -> float | None:
        """Median latency of a search without the index; None if that was not measured."""
        return self.measurement.search.exact_p50_ms if self.measurement else None

    @property
    def representative_run(self) -> PastRun | None:
        """The latest run of some size, as the check on throughput has it; without one the latest."""
        large = [run for run in self.runs if run.embedded >= THROUGHPUT_MINIMUM_CHUNKS]
        return (large or self.runs or (None,))[-1]


@dataclass(frozen=True, slots=True)
class PeriodCost:
    """Dollars spent in a period, and how near that is to its limit.

    Attributes:
        period: its name.
        usd: spent in it.
        limit_usd: None: no limit.
        used: share of the limit, 1 or more when it is reached; None without one.
        state: of the limit: well away from it, near it, reached.
    """

    period: str
    usd: float
    limit_usd: float | None
    used: float | None
    state: Literal["", "warn", "bad"]


@dataclass(frozen=True, slots=True)
class CostOverview:
    """Dollars spent, and the limits; None: no limit. From ``alert_share`` on a limit is near."""

    usd_today: float = 0.0
    usd_this_month: float = 0.0
    limit_usd_per_day: float | None = None
    limit_usd_per_month: float | None = None
    alert_share: float = 1.0
    days: tuple[DayCost, ...] = ()

    @classmethod
    def of(cls, spending: Spending, budget: BudgetConfig, days: Sequence[DayCost] = ()) -> CostOverview:
        """What was spent, beside the limits that are set."""
        return cls(
            usd_today=float(spending.day),
            usd_this_month=float(spending.month),
            limit_usd_per_day=None if budget.usd_per_day is None else float(budget.usd_per_day),
            limit_usd_per_month=None if budget.usd_per_month is None else float(budget.usd_per_month),
            alert_share=budget.alert_share,
            days=tuple(days),
        )

    @property
    def periods(self) -> tuple[PeriodCost, PeriodCost]:
        """Today and this month (UTC)."""
        return (
            self._period("today", self.usd_today, self.limit_usd_per_day),
            self._period("this month", self.usd_this_month, self.limit_usd_per_month),
        )

    def _period(self, period: str, usd: float, limit_usd: float | None) -> PeriodCost:
        if limit_usd is None:
            return PeriodCost(period, usd, None, None, "")
        used = usd / limit_usd
        state: Literal["", "warn", "bad"] = "bad" if used >= 1 else "warn" if used >= self.alert_share else ""
        return PeriodCost(period, usd, limit_usd, used, state)


@dataclass(frozen=True, slots=True)
class ChangedSetting:
    """A setting that is not at its default. Of a secret ``value`` only says that it is set."""

    name: str
    value: str
    default: str


@dataclass(frozen=True, slots=True)
class Overview:
    """The state of a table.

    Attributes:
        created_at: when this was gathered, with a time zone.
        version: of the package.
        database: its address, without the password.
        table: its name.
        chunks: in it.
        documents: that they come from.
        ef_search: at which searches use the indexes.
        recall_floor: recall below which a check warns.
        throughput_floor: chunks per second below which a check warns.
        spaces: the one that serves searches first.
        costs: of all spaces.
        settings: those that were changed.
    """

    created_at: datetime
    version: str
    database: str
    table: str
    chunks: int
    documents: int
    ef_search: int
    recall_floor: float
    throughput_floor: float
    spaces: tuple[SpaceOverview, ...] = ()
    costs: CostOverview = field(default_factory=CostOverview)
    settings: tuple[ChangedSetting, ...] = ()

    @property
    def next_command(self) -> str | None:
        """What to run where nothing is embedded yet; None if rows come from somewhere else."""
        if self.chunks:
            return "embedding-assets embed"
        return "embedding-assets load PATH" if self.table == OWN_TABLE else None

    @property
    def checks(self) -> list[Verdict]:
        """Of all spaces."""
        return [verdict for space in self.spaces for verdict in space.checks]

    @property
    def checked(self) -> list[str]:
        """Names of the checks that were made, each once, in however many spaces."""
        return list(dict.fromkeys(verdict.name for verdict in self.checks))

    @property
    def unchecked(self) -> list[str]:
        """Names of the checks that were not made in some space."""
        return list(dict.fromkeys(name for space in self.spaces for name in space.unchecked))

    @property
    def failed_checks(self) -> list[tuple[str, Verdict]]:
        """Those that did not pass, each with the name of its space, errors first."""
        failed = [(space.name, verdict) for space in self.spaces for verdict in space.checks if not verdict.passed]
        return sorted(failed, key=lambda pair: not pair[1].is_error)

    @property
    def failed(self) -> list[str]:
        """Names of the checks that did not pass, each once, in however many spaces."""
        return list(dict.fromkeys(verdict.name for _, verdict in self.failed_checks))

    def is_slow(self, space: SpaceOverview) -> bool:
        """True if a space's representative run is of some size, and below the floor."""
        run = space.representative_run
        return (
            run is not None
            and run.embedded >= THROUGHPUT_MINIMUM_CHUNKS
            and run.chunks_per_second < self.throughput_floor
        )


def changed_settings(settings: Settings) -> tuple[ChangedSetting, ...]:
    """The settings that differ from their defaults, by the variable that sets them, without the values of secrets."""
    changed = []
    for group in (settings, *(value for _, value in settings if isinstance(value, EnvironmentSettings))):
        for name, described in type(group).model_fields.items():
            value = getattr(group, name)
            default = described.get_default(call_default_factory=True, validated_data={})
            if isinstance(value, EnvironmentSettings) or value == default:
                continue
            shown = "set, not shown" if isinstance(value, SecretStr) else str(value)
            changed.append(ChangedSetting(group.variable(name), shown, "" if default is None else str(default)))
    return tuple(changed)


def place_of(space: VectorSpace) -> str:
    """The place of a space's model: the same name on two servers may be two models."""
    places = {"local": "on this machine", "openai": f"by the API at {space.revision}"}
    return places.get(space.provider, f"by a provider of your own, {space.provider}")
