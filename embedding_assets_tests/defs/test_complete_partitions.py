"""Partitions that a run has completed before it ended otherwise than by succeeding."""

import pytest
from dagster import AssetKey

from embedding_assets.errors import BudgetExceededError, DatabaseUnavailableError
from embedding_assets.pipeline.run import embed_pending
from embedding_assets.planning import PrefixRange
from embedding_assets_tests.support.fakes import hash_of, insert_chunks
from embedding_assets_tests.support.generator_runs import texts
from embedding_assets_tests.support.materializing import materialize

TEXTS = texts(60)


@pytest.mark.parametrize("error", [BudgetExceededError("the limit of a day is used up"), ZeroDivisionError()])
def test_what_is_complete_is_shown_complete_where_a_run_stops(database, instance, monkeypatch, error):
    """As at a limit in dollars: the failure comes after materializations of the partitions that are done."""
    insert_chunks(database, TEXTS)
    used = {hash_of(text)[0] for text in TEXTS}

    def stops(settings, **options):
        embed_pending(settings, **{**options, "prefixes": PrefixRange("4", "9")})
        raise error

    monkeypatch.setattr("embedding_assets.defs.assets.embed_pending", stops)
    result = materialize(instance, first="4", last="f", raise_on_error=False)

    assert not result.success
    done = {m.partition for m in result.asset_materializations_for_node("chunk_embeddings")}
    assert done == {prefix for prefix in "456789abcdef" if prefix <= "9" or prefix not in used}
    kinds = [event.event_type_value for event in result.all_events if event.step_key == "chunk_embeddings"]
    assert kinds.index("ASSET_MATERIALIZATION") < kinds.index("STEP_FAILURE")
    failed = instance.event_log_storage.get_latest_asset_partition_materialization_attempts_without_materializations(
        AssetKey("chunk_embeddings")
    )
    assert set(failed) == {prefix for prefix in "abcdef" if prefix in used}, "of the range that was asked for"


@pytest.mark.parametrize("away", [True, False])
def test_where_the_database_is_away_what_ended_the_run_is_the_news(database, instance, monkeypatch, away):
    insert_chunks(database, TEXTS[:3])
    lost = DatabaseUnavailableError("no connection is accepted")

    def stops(settings, **options):
        raise lost if away else ZeroDivisionError("the first")

    def look(*_):
        assert not away, "it is asked no more"
        raise lost

    monkeypatch.setattr("embedding_assets.defs.assets.embed_pending", stops)
    monkeypatch.setattr("embedding_assets.defs.assets.count_pending_by_prefix", look)
    monkeypatch.setattr("embedding_assets.defs.assets.find_for_run", lambda *_: (None, "a space"))
    monkeypatch.setattr("embedding_assets.defs.assets._LAST_LOOK_SECONDS", 60.0)
    result = materialize(instance, selection="chunk_embeddings", raise_on_error=False)
    assert not result.success
    [failure] = [event for event in result.all_events if event.is_step_failure]
    error = failure.step_failure_data.error.to_string()
    assert ("no connection is accepted" if away else "the first") in error
