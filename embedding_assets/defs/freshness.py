"""How old the latest materialization may be, by how often the schedule comes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from dagster import FreshnessPolicy
from dagster._utils.schedules import cron_string_iterator, is_valid_cron_schedule

_RUN: Final = timedelta(hours=2)
"""For the run itself."""

_LEAST: Final = timedelta(hours=4)
"""From what is due to a failure, where the schedule comes more often than every eight hours."""

_FRIDAY: Final = datetime(2027, 1, 1, tzinfo=UTC)
"""The same one each time, so that definitions do not change from day to day; just before a weekend."""

_TICKS, _SPAN, _MOST_TICKS = 20, timedelta(days=8), 1_500


def freshness_of(cron_schedule: str | None) -> FreshnessPolicy | None:
    """Warns two hours after a run of the schedule is missing, fails after half of its largest gap as well.

    The latest materialization of any partition counts. None without a schedule, for one that Dagster refuses, and for
    one that never comes.
    """
    if cron_schedule is None or not is_valid_cron_schedule(cron_schedule):
        return None
    try:
        gap = largest_gap(cron_schedule)
    except ValueError:  # from croniter, e.g. of 31 April
        return None
    return FreshnessPolicy.time_window(warn_window=gap + _RUN, fail_window=max(1.5 * gap, gap + _LEAST))


def largest_gap(cron_schedule: str) -> timedelta:
    """The longest time between two ticks of a valid schedule (UTC), over twenty of them and eight days at least."""
    largest, before, count = timedelta(0), None, 0
    for tick in cron_string_iterator(_FRIDAY.timestamp(), cron_schedule, None):
        if before is not None:
            largest = max(largest, tick - before)
        before, count = tick, count + 1
        if count > _MOST_TICKS or (count > _TICKS and tick - _FRIDAY > _SPAN):
            break
    return largest
