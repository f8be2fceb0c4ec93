"""What the report and the status page tell: the state of everything, gathered before anything is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from pydantic import SecretStr
from pydantic_settings import BaseSettings

from embedding_assets.health.embeddings import THROUGHPUT_MINIMUM_CHUNKS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from embedding_assets.config import Settings
    from embedding_assets.health.verdict import Verdict
    from embedding_assets.postgres.backlog import PrefixCounts
    from embedding_assets.postgres.usage.ledger import DayCost
    from embedding_assets.reporting.figures.points import CurvePoint, RunPoint
    from embedding_assets.spaces import VectorSpace


@dataclass(frozen=True, slots=True)
class IndexOverview:
    """The vector index of a space and what was last measured of it.

    Attributes:
        name: of the index.
        state: ``valid``, ``invalid`` (a build of it failed) or ``missing``.
        size_bytes: on disk.
        ef_search: the configured one.
        measured_at: when the curve was measured; None if it never was.
        curve: by rising ``ef_search``.
        exact_p50_ms: median latency of a search without the index, milliseconds.
    """

    name: str
    state: str
    size_bytes: int
    ef_search: int
    measured_at: datetime | None = None
    curve: tuple[CurvePoint, ...] = ()
    exact_p50_ms: float | None = None


@dataclass(frozen=True, slots=True)
class SpaceOverview:
    """One vector space.

    Attributes:
        name: of the space.
        model: the model's name.
        place: where the model runs.
        dimensions: length of a vector.
        column: of ``knowledge_base``.
        serving: whether searches are answered from it.
        prefixes: its chunks, by prefix in order.
        waiting: pending chunks that failed and are not due yet.
        runs: its latest runs, oldest first.
        index: its index.
        checks: verdicts on it.
        throughput_floor: chunks per second below which a check warns.
        recall_floor: recall below which a check warns.
        failures: error code → chunks that failed with it last.
        numbers: further measurements, name → value with its unit.
        vectors: a sample, shape (n, dimensions); None: no map is drawn.
        sources: of the sample's documents.
    """

    name: str
    model: str
    place: str
    dimensions: int
    column: str
    serving: bool
    prefixes: tuple[PrefixCounts, ...]
    waiting: int
    runs: tuple[RunPoint, ...]
    index: IndexOverview
    checks: tuple[Verdict, ...]
    throughput_floor: float
    recall_floor: float
    failures: Mapping[str, int] = field(default_factory=dict)
    numbers: Mapping[str, str] = field(default_factory=dict)
    vectors: NDArray[np.floating] | None = field(default=None, repr=False)
    sources: tuple[str, ...] = field(default=(), repr=False)

    @property
    def embedded(self) -> int:
        """Chunks with a vector."""
        return sum(counts.embedded for counts in self.prefixes)

    @property
    def pending(self) -> int:
        """Chunks without one that are not quarantined."""
        return sum(counts.pending for counts in self.prefixes)

    @property
    def quarantined(self) -> int:
        """Chunks that failed too often."""
        return sum(counts.quarantined for counts in self.prefixes)

    @property
    def chunks(self) -> int:
        """All chunks."""
        return self.embedded + self.pending + self.quarantined

    @property
    def telling_run(self) -> RunPoint | None:
        """The run that tells how fast it goes: the latest one of some size, as the check on throughput has it."""
        large = [run for run in self.runs if run.embedded >= THROUGHPUT_MINIMUM_CHUNKS]
        return (large or self.runs or (None,))[-1]

    @property
    def is_slow(self) -> bool:
        """Whether that run is of some size, and below the floor."""
        run = self.telling_run
        return (
            run is not None
            and run.embedded >= THROUGHPUT_MINIMUM_CHUNKS
            and run.chunks_per_second < self.throughput_floor
        )

    @property
    def unchecked(self) -> tuple[str, ...]:
        """Checks that its vectors have still to pass: they need the model, which no overview loads."""
        return ("vectors_match_model",) if self.embedded else ()


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
    """Dollars spent, and the limits; None: no limit. ``alert_share`` of a limit is near to it."""

    today_usd: float = 0.0
    month_usd: float = 0.0
    limit_per_day_usd: float | None = None
    limit_per_month_usd: float | None = None
    days: tuple[DayCost, ...] = ()
    alert_share: float = 1.0

    @property
    def periods(self) -> tuple[PeriodCost, PeriodCost]:
        """Today and this month (UTC)."""
        return (
            self._period("today", self.today_usd, self.limit_per_day_usd),
            self._period("this month", self.month_usd, self.limit_per_month_usd),
        )

    def _period(self, period: str, usd: float, limit_usd: float | None) -> PeriodCost:
        if limit_usd is None:
            return PeriodCost(period, usd, None, None, "")
        used = usd / limit_usd
        return PeriodCost(
            period, usd, limit_usd, used, "bad" if used >= 1 else "warn" if used >= self.alert_share else ""
        )


@dataclass(frozen=True, slots=True)
class ChangedSetting:
    """A setting that is not at its default. ``value`` tells nothing of a secret but that it is set."""

    name: str
    value: str
    default: str


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything.

    Attributes:
        created_at: when this was gathered, with a time zone.
        version: of the package.
        database: its address, without the password.
        chunks: in ``knowledge_base``.
        documents: that they come from.
        spaces: the one that serves searches first.
        costs: of all spaces.
        settings: those that were changed.
    """

    created_at: datetime
    version: str
    database: str
    chunks: int
    documents: int
    spaces: tuple[SpaceOverview, ...]
    costs: CostOverview = CostOverview()
    settings: tuple[ChangedSetting, ...] = ()

    @property
    def checks(self) -> list[Verdict]:
        """Of all spaces."""
        return [verdict for space in self.spaces for verdict in space.checks]

    @property
    def unchecked(self) -> list[str]:
        """Names of the checks that were not looked at in some space."""
        return list(dict.fromkeys(name for space in self.spaces for name in space.unchecked))

    @property
    def failed_checks(self) -> list[tuple[str, Verdict]]:
        """Those that did not pass, each with the name of its space, blocking ones first."""
        failed = [(space.name, verdict) for space in self.spaces for verdict in space.checks if not verdict.passed]
        return sorted(failed, key=lambda pair: not pair[1].blocking)


def changed_settings(settings: Settings) -> tuple[ChangedSetting, ...]:
    """The settings that differ from their defaults, by the variable that sets them; secrets are never told."""
    changed = []
    for group in (settings, *(value for _, value in settings if isinstance(value, BaseSettings))):
        prefix = str(group.model_config.get("env_prefix", ""))
        for name, described in type(group).model_fields.items():
            value = getattr(group, name)
            default = described.get_default(call_default_factory=True, validated_data={})
            if isinstance(value, BaseSettings) or value == default:
                continue
            told = "set, not shown" if isinstance(value, SecretStr) else str(value)
            changed.append(ChangedSetting(f"{prefix}{name}".upper(), told, "" if default is None else str(default)))
    return tuple(changed)


def place_of(space: VectorSpace) -> str:
    """Where a space's model runs: the same name on two servers may be two models."""
    return "on this machine" if space.provider == "local" else f"by the API at {space.revision}"
