"""The overview of a real table: what is counted, what was measured, and what is left out."""

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from embedding_assets import EmbeddingGenerator
from embedding_assets.config import BudgetConfig, get_settings
from embedding_assets.postgres.backlog import Backlog
from embedding_assets.postgres.failures import FailedChunk, save_failures
from embedding_assets.postgres.index.lifecycle import build_indexes
from embedding_assets.postgres.prefixes import PrefixCounts
from embedding_assets.postgres.spaces import register_space
from embedding_assets.postgres.usage.admission import Admitted, settle
from embedding_assets.postgres.usage.endpoints import RateLimits
from embedding_assets.postgres.usage.ledger import ApiRequest, DayCost
from embedding_assets.reporting.gather import ELSEWHERE, count_prefixes, gather_overview, gather_samples
from embedding_assets.reporting.html import render_report
from embedding_assets_tests.support.admission import admit
from embedding_assets_tests.support.fakes import FAKE_SPACE, FakeProvider, insert_chunks

TEXTS = [f"text {number}" for number in range(120)]


@pytest.fixture
def column(settings, database):
    """A space in which all of ``TEXTS`` are embedded."""
    insert_chunks(database, TEXTS)
    EmbeddingGenerator(settings, database=database, provider=FakeProvider()).generate_embeddings_batch()
    return register_space(database, FAKE_SPACE)


def names(space):
    return {check.name for check in space.checks}


def test_an_empty_table(database, settings):
    overview = gather_overview(database, settings)
    assert (overview.chunks, overview.documents, overview.spaces, overview.costs.days) == (0, 0, (), ())
    assert overview.created_at <= datetime.now(UTC)


def test_a_space_that_was_never_measured(database, settings, column):
    [space] = gather_overview(database, settings).spaces
    assert (space.name, space.column, space.configured) == (column.space.name, column, True)
    assert space.backlog == Backlog(120, 120, 0, 0, 0, 0)
    assert [counts.prefix for counts in space.prefixes] == list("0123456789abcdef")
    assert [run.embedded for run in space.runs] == [120]
    assert (space.index.status, space.measurement, space.curve, space.exact_p50_ms) == ("missing", None, (), None)
    assert {check.name for check in space.checks if not check.passed} == {"index_valid"}
    assert "recall" not in names(space), "nothing is said of what was not measured"
    assert space.unchecked == ("vectors_match_model",)


def test_what_was_measured_is_shown_and_nothing_is_measured_again(database, settings, column):
    build_indexes(database, column, settings.index)
    database.run(
        lambda connection: connection.execute("UPDATE embedding_index_measurements SET measured_at = '2020-01-01Z'")
    )

    overview = gather_overview(database, settings)
    [space] = overview.spaces

    assert space.index.status == "valid"
    assert space.measurement is not None
    assert space.measurement.measured_at == datetime(2020, 1, 1, tzinfo=UTC)
    assert [point.ef_search for point in space.curve] == [10, 20, 40, 80, 120, 200, 400]
    assert all(check.passed for check in space.checks)
    assert {"recall", "recall_drop", "bloat", "planner_uses_index", "pgvector_version"} <= names(space)
    [(vectors, sources)] = gather_samples(database, overview, 50).values()
    assert vectors.shape == (50, 768)
    assert len(sources) == 50
    page = render_report(overview, {space.name: (vectors, sources)})
    assert "zero vectors among them" in page
    assert "recall@10 in 100 queries" in page
    assert gather_samples(database, overview, 50)[space.name][0].tolist() == vectors.tolist(), "the same each time"


def test_of_an_index_that_is_gone_nothing_is_shown_but_that(database, settings, column):
    build_indexes(database, column, settings.index)
    database.run(lambda connection: connection.execute("DROP INDEX idx_knowledge_embedding"))
    [space] = gather_overview(database, settings).spaces
    assert (space.index.status, space.measurement, space.curve, space.exact_p50_ms) == ("missing", None, (), None)
    assert {check.name for check in space.checks if not check.passed} == {"index_valid"}
    assert not {"recall", "recall_drop", "bloat", "planner_uses_index"} & names(space)


def test_sizes_and_the_planner_are_asked_now(database, settings, column):
    build_indexes(database, column, settings.index)
    database.run(lambda connection: connection.execute("DELETE FROM knowledge_base WHERE chunk_text LIKE 'text 1%%'"))
    database.run(
        lambda connection: connection.execute(
            "UPDATE embedding_index_measurements "
            "SET details = jsonb_set(details, '{search,planner_uses_index}', 'true')"
        )
    )
    [space] = gather_overview(database, settings).spaces
    verdicts = {check.name: check for check in space.checks}
    assert verdicts["bloat"].numbers["bloat"] > 1.2
    assert verdicts["planner_uses_index"].numbers == {"index_is_used": False, "vectors": 89}


def test_chunks_by_prefix(database, settings, column):
    new = insert_chunks(database, ["new one", "new two"])
    config = settings.with_embedding(max_attempts=1).embedding
    save_failures(database, column.space.name, [FailedChunk(new[0], "not_finite")], config)
    database.run(
        lambda connection: connection.execute(
            "INSERT INTO knowledge_base (chunk_hash, chunk_text) VALUES ('Not-Hex', 'unreachable')"
        )
    )

    prefixes = count_prefixes(database, column, 2)

    assert len(prefixes) == 257
    assert prefixes[-1] == PrefixCounts(ELSEWHERE, 0, 1)
    by_prefix = {counts.prefix: counts for counts in prefixes}
    assert by_prefix[new[0][:2]].quarantined == 1
    assert by_prefix[new[1][:2]].pending == 1
    assert sum(counts.embedded for counts in prefixes) == 120
    [space] = gather_overview(database, settings).spaces
    assert (space.backlog.chunks, space.backlog.pending, space.backlog.quarantined) == (123, 2, 1)
    assert space.failures == {"not_finite": 1}
    assert {check.name for check in space.checks if not check.passed} >= {"quarantine_empty", "hashes_reachable"}


def test_vectors_that_no_partition_reaches_count(database, settings, column):
    database.run(lambda connection: connection.execute("UPDATE knowledge_base SET chunk_hash = 'ID-' || chunk_hash"))
    [space] = gather_overview(database, settings).spaces
    assert (space.backlog.chunks, space.backlog.embedded) == (120, 120)


def test_a_space_that_the_settings_do_not_lead_to_need_not_be_complete(database, settings, column):
    register_space(database, replace(FAKE_SPACE, dimensions=32), new_space=True)
    serving, further = gather_overview(database, settings).spaces
    assert serving.column.serving
    assert further.backlog.embedded == 0
    assert names(further) == {"finite_dimensions", "unit_norm"}
    assert all(check.passed for check in further.checks)


def test_costs_by_day_and_space_with_the_limits(database, settings, monkeypatch):
    for space, tokens in (("one", 1000), ("two", 3000), ("free", 0)):
        request = ApiRequest("endpoint", space, "openai", "model", "run", 10, tokens, 2 * tokens, Decimal(1000))
        admitted = admit(database, request, RateLimits(None, None), BudgetConfig(), lifetime_seconds=60)
        assert isinstance(admitted, Admitted)
        settle(database, admitted.reservation, tokens=tokens, rates=None)
    database.run(
        lambda connection: connection.execute(
            "UPDATE embedding_usage SET created_at = now() - interval '1 day' WHERE space = 'two'"
        )
    )
    monkeypatch.setenv("EMBEDDING_BUDGET_USD_PER_DAY", "2.5")
    monkeypatch.setenv("EMBEDDING_BUDGET_ALERT_SHARE", "0.3")

    costs = gather_overview(database, get_settings()).costs

    [yesterday, today] = costs.days
    assert (yesterday.space, yesterday.usd, today.space, today.usd) == ("two", 3.0, "one", 1.0)
    assert (today.day - yesterday.day).days == 1
    assert (costs.limit_usd_per_day, costs.limit_usd_per_month, costs.alert_share) == (2.5, None, 0.3)
    assert [period.state for period in costs.periods] == ["warn", ""]
    assert isinstance(today, DayCost)
    assert isinstance(today.day, date)
