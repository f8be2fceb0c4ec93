"""Dollars spent, judged by the limits that are set.

The same warning is logged by the gate of an API (``providers/openai/gate.py``) and stands in the tick of the sensor
(``pipeline/readiness.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from embedding_assets.config import BudgetConfig
from embedding_assets.formatting import dollars, share
from embedding_assets.health import checks
from embedding_assets.health.verdict import Verdict
from embedding_assets.postgres.usage.ledger import Spending


@dataclass(frozen=True, slots=True)
class _Limit:
    setting: str
    period: str
    resets: str
    used: Decimal
    most: Decimal

    @property
    def used_share(self) -> float:
        return float(self.used / self.most)

    def __str__(self) -> str:
        spent = f"{dollars(self.used)} of {dollars(self.most)} {self.period}"
        return f"{spent} ({self.setting}) are spent, {share(self.used_share)}"


def costs_within_budget(spending: Spending, budget: BudgetConfig) -> Verdict:
    """No dollar limit is about to be reached."""
    limits = _limits(spending, budget)
    alarming = [limit for limit in limits if budget.warns_at(limit.used_share)]
    if alarming:
        found = "; ".join(f"{limit}, which resets {limit.resets}" for limit in alarming)
    elif limits:
        found = "; ".join(map(str, limits))
    else:
        found = (
            f"no limit is set; {dollars(spending.day)} today, {dollars(spending.month)} this month (UTC). "
            "EMBEDDING_BUDGET_USD_PER_DAY and the like set one"
        )
    return checks.COSTS_WITHIN_BUDGET.verdict(
        not alarming,
        found,
        {
            "usd_this_run": float(spending.run),
            "usd_today": float(spending.day),
            "usd_this_month": float(spending.month),
            **({"used_share": round(max(limit.used_share for limit in limits), 4)} if limits else {}),
        },
    )


def limits_exceeded_by(usd: float, spending: Spending, budget: BudgetConfig) -> list[str]:
    """The limits that leave less than ``usd``, as phrases that name their settings."""
    return [
        f"{limit.setting} leaves {dollars(max(limit.most - limit.used, Decimal(0)))}; it resets {limit.resets}"
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
