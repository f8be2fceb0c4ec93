"""How old vectors may be follows from the schedule."""

from datetime import timedelta

import dagster as dg
import pytest

from embedding_assets.defs.factory import build_embedding_definitions
from embedding_assets.defs.freshness import freshness_of, largest_gap

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.mark.parametrize(
    ("schedule", "gap"),
    [
        ("0 2 * * *", DAY),
        ("0 3 * * 0", 7 * DAY),
        ("@weekly", 7 * DAY),
        ("0 2 * * 1-5", 3 * DAY),
        ("0 2,14 * * *", 12 * HOUR),
        ("0 2,3 * * *", 23 * HOUR),
        ("0 4 1 * *", 31 * DAY),
        ("*/15 8-18 * * 1-5", 2 * DAY + 13 * HOUR + HOUR / 4),
        ("* * * * *", HOUR / 60),
    ],
)
def test_the_largest_gap_counts(schedule: str, gap: timedelta):
    assert largest_gap(schedule) == gap


@pytest.mark.parametrize(
    ("schedule", "warns", "fails"),
    [
        ("0 2 * * *", 26 * HOUR, 36 * HOUR),
        ("0 3 * * 0", 170 * HOUR, 252 * HOUR),
        ("0 * * * *", 3 * HOUR, 5 * HOUR),
    ],
)
def test_it_warns_when_a_run_is_missing_and_fails_later(schedule: str, warns: timedelta, fails: timedelta):
    graph = build_embedding_definitions("articles", schedule=schedule).resolve_asset_graph()
    for name in ("chunk_embeddings", "pgvector_index_health"):
        policy = graph.get(dg.AssetKey(name)).freshness_policy
        assert (policy.warn_window.to_timedelta(), policy.fail_window.to_timedelta()) == (warns, fails)


@pytest.mark.parametrize("schedule", [None, "nightly", "0 0 30 2 *", "0 0 31 4 *"])
def test_without_a_schedule_nothing_is_due(schedule: str | None):
    assert freshness_of(schedule) is None


def test_a_date_that_never_comes_is_no_reason_to_load_nothing():
    graph = build_embedding_definitions("articles", schedule="0 0 31 4 *").resolve_asset_graph()
    assert graph.get(dg.AssetKey("chunk_embeddings")).freshness_policy is None
