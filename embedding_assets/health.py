"""Measurements to verdicts, purely: what is wrong, how bad it is, what to do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from embedding_assets.audit import MINIMUM_COSINE, SpaceSample
from embedding_assets.config import BudgetConfig, EmbeddingConfig, IndexConfig
from embedding_assets.postgres.chunks import Backlog
from embedding_assets.postgres.index import IndexState
from embedding_assets.postgres.ledger import Spending
from embedding_assets.postgres.runs import RunRecord
from embedding_assets.postgres.vectors import StoredVectorsReport

__all__ = [
    "THROUGHPUT_MINIMUM_CHUNKS",
    "Verdict",
    "judge_costs",
    "judge_coverage",
    "judge_hashes",
    "judge_index",
    "judge_models",
    "judge_quarantine",
    "judge_throughput",
    "judge_vectors",
    "limits_passed_by",
    "over_spaces",
]

THROUGHPUT_MINIMUM_CHUNKS = 100
"""Runs that embedded fewer say more about start-up than about speed."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of one check.

    Attributes:
        name: of the check.
        passed: whether all is well.
        blocking: whether a failure endangers what builds on the data, rather than calling for attention.
        description: what was found; when it failed, what to do.
        numbers: the measurements behind it.
    """

    name: str
    passed: bool
    blocking: bool
    description: str
    numbers: dict[str, float | int | str] = field(default_factory=dict)


def judge_vectors(report: StoredVectorsReport, dimensions: int) -> Verdict:
    """Every stored vector has the space's dimensions, all finite, and a length fit for search."""
    passed = report.faulty == 0
    return Verdict(
        "finite_dimensions",
        passed,
        blocking=True,
        description=f"{report.checked:,} vectors checked, all with {dimensions} finite dimensions"
        if passed
        else f"{report.faulty:,} of {report.checked:,} vectors are faulty: {report.wrong_dimensions} of wrong length, "
        f"{report.zero} zero, {report.not_unit_length or 0} not of unit length. They were not written by this "
        "pipeline; set them to NULL and embed again",
        numbers={
            "checked": report.checked,
            "wrong_dimensions": report.wrong_dimensions,
            "zero": report.zero,
            "not_unit_length": report.not_unit_length or 0,
        },
    )


def judge_throughput(run: RunRecord | None, config: EmbeddingConfig) -> Verdict:
    """The latest run of some size was fast enough."""
    if run is None:
        return Verdict(
            "throughput",
            passed=True,
            blocking=False,
            description=f"no run has embedded {THROUGHPUT_MINIMUM_CHUNKS} chunks yet",
        )
    rate = run.chunks_per_second
    remedy = (
        "Ask the provider for higher rate limits, raise EMBEDDING_OPENAI_CONCURRENCY"
        if run.device == "api"
        else "Use a GPU or a smaller model"
    )
    passed = rate >= config.throughput_floor
    return Verdict(
        "throughput",
        passed,
        blocking=False,
        description=f"{rate:.1f} chunks/s on {run.device}, the floor is {config.throughput_floor:g}"
        + ("" if passed else f". {remedy}, or lower EMBEDDING_THROUGHPUT_FLOOR"),
        numbers={"chunks_per_second": round(rate, 2), "floor": config.throughput_floor},
    )


def judge_coverage(backlog: Backlog, config: EmbeddingConfig) -> Verdict:
    """Enough of the table is embedded."""
    share = backlog.embedded / backlog.chunks if backlog.chunks else 1.0
    passed = share >= config.coverage_floor
    return Verdict(
        "coverage",
        passed,
        blocking=False,
        description=f"{backlog.embedded:,} of {backlog.chunks:,} chunks are embedded ({share:.1%})"
        + ("" if passed else ". Materialize the remaining partitions of chunk_embeddings, or run `embed`"),
        numbers={"coverage": round(share, 4), "pending": backlog.pending},
    )


def judge_quarantine(backlog: Backlog) -> Verdict:
    """No chunk was given up."""
    passed = backlog.quarantined == 0
    return Verdict(
        "quarantine_empty",
        passed,
        blocking=False,
        description="no chunk is quarantined"
        if passed
        else f"{backlog.quarantined:,} chunks failed too often. List them with `embedding-assets failures`, mend their "
        "text (an edit is enough to try again) or run `embedding-assets failures --retry`",
        numbers={"quarantined": backlog.quarantined, "waiting_for_retry": backlog.waiting},
    )


def judge_hashes(backlog: Backlog) -> Verdict:
    """Every pending chunk lies in some partition."""
    passed = backlog.unreachable == 0
    return Verdict(
        "hashes_reachable",
        passed,
        blocking=False,
        description="every pending chunk lies in a partition"
        if passed
        else f"{backlog.unreachable:,} pending chunks have a chunk_hash that is not lowercase hex, so no partition "
        "ever reaches them. Find them by: chunk_hash !~ '^[0-9a-f]{2,}$'",
        numbers={"unreachable": backlog.unreachable},
    )


def judge_index(state: IndexState, config: IndexConfig, embedded: int) -> Verdict:
    """The index exists, is valid and was built as configured."""
    if embedded == 0:
        return Verdict("index_valid", passed=True, blocking=False, description="nothing is embedded yet")
    if not state.exists:
        found = "does not exist"
    elif not state.valid:
        found = "is invalid: a build of it failed"
    elif not state.matches(config):
        found = f"was built with {state.operator_class}, m={state.m}, ef_construction={state.ef_construction}"
    else:
        found = ""
    return Verdict(
        "index_valid",
        passed=not found,
        blocking=True,
        description=f"index {state.name} {found}. Materialize pgvector_index_health to build it"
        if found
        else f"index {state.name} is valid: {config.operator_class}, m={config.m}, "
        f"ef_construction={config.ef_construction}",
        numbers={"size_bytes": state.size_bytes},
    )


def judge_models(samples: Sequence[SpaceSample]) -> Verdict:
    """The vectors of each space are those of its own model."""
    wrong = [sample for sample in samples if sample.mismatched]
    unchecked = [sample for sample in samples if sample.unchecked is not None]
    compared = sum(sample.compared for sample in samples)
    alike = f"{compared:,} vectors computed again" + (", all as they are stored" if compared else "")
    parts = [_mismatch(sample) for sample in wrong] or [alike]
    parts += [f"space {sample.record.space.name} is not checked: {sample.unchecked}" for sample in unchecked]
    cosines = [sample.lowest_cosine for sample in samples if sample.lowest_cosine is not None]
    return Verdict(
        "vectors_match_model",
        passed=not wrong,
        blocking=True,
        description=". ".join(parts),
        numbers={
            "compared": compared,
            "mismatched": sum(len(sample.mismatched) for sample in samples),
            "spaces_not_checked": len(unchecked),
            **({"lowest_cosine": round(min(cosines), 5)} if cosines else {}),
        },
    )


def _mismatch(sample: SpaceSample) -> str:
    space, column = sample.record.space, sample.record.column
    return (
        f"space {space.name}: {len(sample.mismatched)} of {sample.compared} vectors are not what {space.model} makes "
        f"of their text (cosine below {MINIMUM_COSINE}, down to {sample.lowest_cosine or 0:.2f}), e.g. those of "
        f"{', '.join(sample.mismatched[:5])}. Another model wrote into column {column}, or EMBEDDING_MODEL_NAME named "
        f"the wrong one when the table was adopted. Set what is not this model's to NULL (the whole column if that "
        "cannot be told) and embed again"
    )


@dataclass(frozen=True, slots=True)
class _Limit:
    setting: str
    period: str
    resets: str
    used: Decimal
    most: Decimal

    @property
    def share(self) -> float:
        return float(self.used / self.most)

    def __str__(self) -> str:
        return f"{_usd(self.used)} of {_usd(self.most)} {self.period} ({self.setting}) are spent, {self.share:.0%}"


def judge_costs(spending: Spending, budget: BudgetConfig) -> Verdict:
    """No dollar limit is about to be reached."""
    limits = _limits(spending, budget)
    alarming = [limit for limit in limits if limit.share >= budget.alert_share]
    if alarming:
        description = (
            "; ".join(f"{limit}, which resets {limit.resets}" for limit in alarming)
            + ". At a limit embedding stops, and what is embedded stays; raise the setting to go on earlier"
        )
    elif limits:
        description = "; ".join(map(str, limits))
    else:
        description = (
            f"no limit is set; {_usd(spending.day)} today, {_usd(spending.month)} this month (UTC). "
            "EMBEDDING_BUDGET_USD_PER_DAY and the like set one"
        )
    return Verdict(
        "costs_within_budget",
        passed=not alarming,
        blocking=False,
        description=description,
        numbers={
            "usd_this_run": float(spending.run),
            "usd_today": float(spending.day),
            "usd_this_month": float(spending.month),
            **({"used_share": round(max(limit.share for limit in limits), 4)} if limits else {}),
        },
    )


def limits_passed_by(usd: float, spending: Spending, budget: BudgetConfig) -> list[str]:
    """The limits that leave less than ``usd``, as phrases that name their settings."""
    return [
        f"{limit.setting} leaves {_usd(max(limit.most - limit.used, Decimal(0)))}; it resets {limit.resets}"
        for limit in _limits(spending, budget)
        if usd and Decimal(usd) > limit.most - limit.used
    ]


def _limits(spending: Spending, budget: BudgetConfig) -> list[_Limit]:
    """Those that are set."""
    return [
        _Limit(f"EMBEDDING_BUDGET_USD_PER_{unit.upper()}", f"a {unit}", resets, used, most)
        for unit, resets, used, most in (
            ("run", "with the next run", spending.run, budget.usd_per_run),
            ("day", "at midnight UTC", spending.day, budget.usd_per_day),
            ("month", "on the first of the month (UTC)", spending.month, budget.usd_per_month),
        )
        if most is not None
    ]


def _usd(amount: Decimal) -> str:
    """Cents, or millionths of a dollar where cents would say nothing."""
    return f"${amount:,.2f}" if amount == 0 or amount >= Decimal("0.1") else f"${amount:.6f}"


def over_spaces(verdicts: Mapping[str, Verdict]) -> Verdict:
    """One verdict on several spaces: fails as soon as one does, and names it; the numbers are the first space's."""
    first = next(iter(verdicts.values()))
    failed = {space: verdict for space, verdict in verdicts.items() if not verdict.passed}
    if len(verdicts) == 1 and first.passed:
        return first
    told = failed or verdicts
    return Verdict(
        first.name,
        passed=not failed,
        blocking=any(verdict.blocking for verdict in told.values()),
        description="; ".join(f"space {space}: {verdict.description}" for space, verdict in told.items()),
        numbers=first.numbers,
    )
