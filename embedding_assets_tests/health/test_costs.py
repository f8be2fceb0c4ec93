"""Dollars, judged by the limits that are set."""

from decimal import Decimal

import pytest

from embedding_assets.config import BudgetConfig
from embedding_assets.health.costs import costs_within_budget, limits_exceeded_by
from embedding_assets.postgres.usage.ledger import Spending


def spending(*, run: str = "0", day: str = "0", month: str = "0") -> Spending:
    return Spending(Decimal(run), Decimal(day), Decimal(month))


def budget(**limits: object) -> BudgetConfig:
    return BudgetConfig(**{f"usd_per_{unit}": value for unit, value in limits.items()})


@pytest.mark.parametrize(
    ("spent", "limits", "passed", "found"),
    [
        ({"day": "0.25", "month": "3.5"}, {}, True, "no limit is set; $0.25 today, $3.50 this month (UTC)"),
        ({}, {"run": 1}, True, "$0.00 of $1.00 a run (EMBEDDING_BUDGET_USD_PER_RUN) are spent, 0%"),
        ({"day": "0.79"}, {"day": 1}, True, "$0.79 of $1.00 a day (EMBEDDING_BUDGET_USD_PER_DAY) are spent, 79%"),
        (
            {"run": "0.8"},
            {"run": 1},
            False,
            "80%, which resets with the next run. Raise EMBEDDING_BUDGET_USD_PER_RUN",
        ),
        ({"day": "0.8"}, {"day": 1}, False, "a day (EMBEDDING_BUDGET_USD_PER_DAY) are spent, 80%, which resets at mid"),
        (
            {"month": "2000"},
            {"day": 1, "month": 1500},
            False,
            "$2,000.00 of $1,500.00 a month (EMBEDDING_BUDGET_USD_PER",
        ),
        ({"month": "90"}, {"month": 100}, False, "90%, which resets on the first of the month (UTC)"),
        ({"day": "0.000009"}, {"day": "0.00001"}, False, "$0.000009 of $0.00001 a day"),
    ],
)
def test_costs_within_budget(spent: dict[str, str], limits: dict[str, object], passed: bool, found: str):
    verdict = costs_within_budget(spending(**spent), budget(**limits))
    assert (verdict.name, verdict.severity, verdict.passed) == ("costs_within_budget", "warning", passed)
    assert found in verdict.description


@pytest.mark.parametrize(
    ("limits", "numbers"),
    [({}, {}), ({"run": 1, "month": 4}, {"used_share": 0.75})],
)
def test_numbers_behind_the_verdict(limits: dict[str, object], numbers: dict[str, float]):
    verdict = costs_within_budget(spending(run="0.1", day="0.25", month="3"), budget(**limits))
    assert verdict.numbers == {"usd_this_run": 0.1, "usd_today": 0.25, "usd_this_month": 3.0, **numbers}


def test_an_alert_names_only_the_limits_that_are_near():
    verdict = costs_within_budget(spending(run="0.9", day="0.9", month="0.9"), budget(run=1, day=10, month=1))
    assert "PER_RUN" in verdict.description
    assert "PER_MONTH" in verdict.description
    assert "PER_DAY" not in verdict.description


def test_an_alert_begins_at_the_configured_share():
    assert not costs_within_budget(spending(day="0.5"), BudgetConfig(usd_per_day=1, alert_share=0.5)).passed
    assert costs_within_budget(spending(day="0.49"), BudgetConfig(usd_per_day=1, alert_share=0.5)).passed


@pytest.mark.parametrize(
    ("usd", "spent", "limits", "exceeded"),
    [
        (1.0, spending(), budget(), []),
        (0.0, spending(day="3"), budget(day=2), []),
        (1.0, spending(), budget(run=1, day=1, month=1), []),
        (1.5, spending(), budget(run=1, day=2), [
            "EMBEDDING_BUDGET_USD_PER_RUN leaves $1.00; it resets with the next run",
        ]),
        (0.5, spending(day="1.75", month="9"), budget(day=2, month=9), [
            "EMBEDDING_BUDGET_USD_PER_DAY leaves $0.25; it resets at midnight UTC",
            "EMBEDDING_BUDGET_USD_PER_MONTH leaves $0.00; it resets on the first of the month (UTC)",
        ]),
        (0.5, spending(day="3"), budget(day=2), [
            "EMBEDDING_BUDGET_USD_PER_DAY leaves $0.00; it resets at midnight UTC",
        ]),
    ],
)  # fmt: skip
def test_limits_that_a_backlog_would_exceed(usd: float, spent: Spending, limits: BudgetConfig, exceeded: list[str]):
    assert limits_exceeded_by(usd, spent, limits) == exceeded
