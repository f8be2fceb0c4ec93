"""The checks as Dagster evaluates them: what they are given, by settings and by spaces, and what they stop."""

import dagster
import pytest
from dagster import AssetKey, DagsterInstance

from embedding_assets import EmbeddingGenerator
from embedding_assets.definitions import defs
from embedding_assets.defs.effort import THOROUGH_TAG
from embedding_assets.defs.jobs import range_tags
from embedding_assets.models import EmbeddingStats
from embedding_assets.planning import PrefixRange
from embedding_assets.postgres.index.build import build_vector_index
from embedding_assets.postgres.runs import save_run
from embedding_assets.postgres.spaces import register_space
from embedding_assets.providers.space_selection import select_for_run
from embedding_assets_tests.support.evaluating import evaluate, execute, failing
from embedding_assets_tests.support.fakes import FAKE_SPACE, FakeProvider, hash_of, insert_chunks, vector_of
from embedding_assets_tests.support.generator_runs import texts

ONE = "(SELECT min(chunk_hash) FROM knowledge_base)"
TEXTS = texts(30)


@pytest.mark.parametrize(("asset", "name"), [("chunk_embeddings", "unit_norm"), ("pgvector_index_health", "bloat")])
def test_one_check_alone(filled, asset, name):
    """As the UI's "Execute" does; without that a check only ever runs after the asset has repaired what it reports."""
    key = dagster.AssetCheckKey(dagster.AssetKey(asset), name)
    assert list(evaluate(dagster.AssetSelection.checks(key))) == [name]
    [checks] = [checks for checks in defs.asset_checks if key in checks.check_keys]
    assert checks.can_subset


def test_all_is_well(filled):
    evaluations = evaluate()

    assert len(evaluations) == 15
    assert all(evaluation.passed and evaluation.description for evaluation in evaluations.values())
    assert evaluations["finite_dimensions"].metadata["checked"].value == 30
    assert evaluations["vectors_match_model"].metadata["compared"].value == 30
    assert evaluations["recall"].metadata["recall"].value > 0.9
    assert evaluations["costs_within_budget"].description.startswith("no limit is set; $0.00 today")


def test_what_is_acceptable_is_a_setting(filled, database, monkeypatch):
    save_run(database, EmbeddingStats(space=filled.space.name, embedded=300, seconds=10, device="cpu"))
    monkeypatch.setenv("EMBEDDING_THROUGHPUT_FLOOR", "30.5")
    insert_chunks(database, ["one more"])
    execute(database, "UPDATE embedding_spaces SET created_at = now() - interval '3 days'")
    execute(database, "UPDATE knowledge_base SET pending_since = now() - interval '25 hours' WHERE embedding IS NULL")

    found = failing()

    assert set(found) == {"throughput", "coverage", "backlog_age"}
    assert found["throughput"].metadata["chunks_per_second"].value == 30.0
    assert found["coverage"].metadata["pending"].value == 1
    assert found["backlog_age"].metadata["oldest_pending_hours"].value == 25.0
    monkeypatch.setenv("EMBEDDING_THROUGHPUT_FLOOR", "29.5")
    monkeypatch.setenv("EMBEDDING_COVERAGE_FLOOR", "0.9")
    monkeypatch.setenv("EMBEDDING_BACKLOG_AGE_HOURS", "26")
    assert failing() == {}


def test_nothing_was_ever_loaded(settings, database):
    assert failing() == {}


def test_a_wrong_claim_on_an_adopted_table(settings, database):
    """EMBEDDING_MODEL_NAME names a model that did not make the vectors which the table came with."""
    insert_chunks(database, TEXTS)
    rows = [(str(vector_of(text).tolist()), hash_of(text)) for text in TEXTS]
    database.run(
        lambda c: c.cursor().executemany("UPDATE knowledge_base SET embedding = %s::vector WHERE chunk_hash = %s", rows)
    )
    column = select_for_run(settings, database).column

    assert "30 of 30 vectors" in failing()["vectors_match_model"].description

    database.run(lambda c: c.execute("UPDATE knowledge_base SET embedding = NULL"))
    EmbeddingGenerator(settings, database=database).generate_embeddings_batch()
    build_vector_index(database, column, settings.index)
    assert failing() == {}


def test_the_index_of_another_space(filled, settings, database):
    other = register_space(database, FAKE_SPACE, new_space=True)
    EmbeddingGenerator(
        settings.with_embedding(new_space=True), database=database, provider=FakeProvider()
    ).generate_embeddings_batch()

    assert f"space {FAKE_SPACE.name}: index {other.index} does not exist" in failing()["index_valid"].description

    build_vector_index(database, other, settings.index)
    assert failing() == {}


@pytest.mark.parametrize("value", ["array_fill(0, ARRAY[768])::vector", str(vector_of("another model's").tolist())])
def test_faulty_vectors_keep_the_index_from_being_built(filled, database, value):
    execute(database, "DROP INDEX idx_knowledge_embedding")
    value = value if value.startswith("array") else f"'{value}'"
    execute(database, f"UPDATE knowledge_base SET embedding = {value} WHERE chunk_hash = {ONE}")

    with DagsterInstance.ephemeral() as instance:
        result = dagster.materialize(
            [*defs.assets, *defs.asset_checks],
            instance=instance,
            resources=defs.resources,
            tags={**range_tags(PrefixRange("0", "f")), THOROUGH_TAG: "true"},
            raise_on_error=False,
        )

    assert not result.success
    assert {event.asset_key for event in result.get_asset_materialization_events()} == {
        AssetKey("chunks_pending"),
        AssetKey("chunk_embeddings"),
    }
    exists = database.run(lambda c: c.execute("SELECT to_regclass('idx_knowledge_embedding')").fetchone())
    assert exists == (None,)
