"""Each check is shown failing by breaking the thing it watches."""

import hashlib
from decimal import Decimal

import dagster
import pytest
from dagster import AssetCheckSeverity, AssetKey, DagsterInstance

from embedding_assets import EmbeddingGenerator
from embedding_assets.config import IndexConfig, get_settings
from embedding_assets.definitions import defs
from embedding_assets.defs.jobs import range_tags
from embedding_assets.models import EmbeddingStats
from embedding_assets.planning import PrefixRange
from embedding_assets.postgres.index.build import build_vector_index
from embedding_assets.postgres.index.lifecycle import accept_recall, build_indexes
from embedding_assets.postgres.runs import save_run
from embedding_assets.postgres.spaces import register_space
from embedding_assets.postgres.usage.ledger import Spending
from embedding_assets.providers.selection import select_for_run
from embedding_assets_tests.support.evaluating import evaluate, execute, failing
from embedding_assets_tests.support.fakes import FAKE_SPACE, FakeProvider, hash_of, insert_chunks, vector_of
from embedding_assets_tests.support.generator_runs import texts

ONE = "(SELECT min(chunk_hash) FROM knowledge_base)"
TEXTS = texts(30)


@pytest.mark.parametrize(("asset", "name"), [("chunk_embeddings", "unit_norm"), ("pgvector_index_health", "bloat")])
def test_one_check_alone(filled, asset, name):
    """As the UI's "Execute" does; without that a check only ever runs after the asset has mended what it tells of."""
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
    assert evaluations["recall"].metadata["recall_at_10"].value > 0.9
    assert evaluations["costs_within_budget"].description.startswith("no limit is set; $0.00 today")


def test_nothing_was_ever_loaded(settings, database):
    assert failing() == {}


@pytest.mark.parametrize(
    ("fault", "number"),
    [
        ("array_fill(0, ARRAY[768])::vector", "zero"),
        ("array_fill(1, ARRAY[768])::vector", "not_unit_length"),
    ],
)
def test_a_faulty_vector(filled, database, fault, number):
    execute(database, f"UPDATE knowledge_base SET embedding = {fault} WHERE chunk_hash = {ONE}")

    [evaluation] = [e for name, e in failing().items() if name == "finite_dimensions"]

    assert evaluation.metadata[number].value == 1
    assert evaluation.severity is AssetCheckSeverity.ERROR
    assert "set them to NULL" in evaluation.description
    [evaluation] = [e for name, e in failing().items() if name == "unit_norm"]
    assert evaluation.severity is AssetCheckSeverity.ERROR
    assert "embed again" in evaluation.description


def test_a_vector_of_another_length(filled, database):
    execute(database, "DROP INDEX idx_knowledge_embedding")
    execute(database, "DROP TRIGGER embedding_removed ON knowledge_base")
    execute(database, "ALTER TABLE knowledge_base ALTER COLUMN embedding TYPE vector")
    execute(database, f"UPDATE knowledge_base SET embedding = '[1]' WHERE chunk_hash = {ONE}")

    assert failing()["finite_dimensions"].metadata["wrong_dimensions"].value == 1


def test_vectors_of_another_model(filled, database):
    """A tenth of the column, finite and of unit length, so that no other check can see it."""
    rows = [(str(vector_of(text).tolist()), hash_of(text)) for text in TEXTS[:3]]
    database.run(
        lambda c: c.cursor().executemany("UPDATE knowledge_base SET embedding = %s::vector WHERE chunk_hash = %s", rows)
    )

    assert set(failing()) == {"vectors_match_model"}
    evaluation = failing()["vectors_match_model"]

    assert evaluation.severity is AssetCheckSeverity.ERROR
    assert evaluation.metadata["mismatched"].value == 3
    assert f"space {filled.space.name}: 3 of 30 vectors are not what demo/" in evaluation.description
    assert all(chunk_hash in evaluation.description for _, chunk_hash in rows)
    assert "to NULL" in evaluation.description
    assert not any(text in evaluation.description for text in TEXTS)


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


@pytest.mark.parametrize("limit", ["RUN", "DAY", "MONTH"])
def test_a_budget_that_is_nearly_spent(filled, monkeypatch, limit):
    # In the middle of a month, whatever day the test runs on.
    monkeypatch.setattr(
        "embedding_assets.defs.checks.count_spending", lambda *_: Spending(Decimal(1), Decimal(2), Decimal(3))
    )
    monkeypatch.setenv(f"EMBEDDING_BUDGET_USD_PER_{limit}", "4")
    passing = evaluate()["costs_within_budget"]
    assert passing.passed
    assert passing.metadata["usd_this_month"].value == 3.0
    monkeypatch.setenv(f"EMBEDDING_BUDGET_USD_PER_{limit}", "3")
    monkeypatch.setenv("EMBEDDING_BUDGET_ALERT_SHARE", "0.3")

    assert set(failing()) == {"costs_within_budget"}
    evaluation = failing()["costs_within_budget"]

    assert evaluation.severity is AssetCheckSeverity.WARN
    assert f"EMBEDDING_BUDGET_USD_PER_{limit}" in evaluation.description
    assert "resets" in evaluation.description


def test_a_slow_run(filled, database, monkeypatch):
    save_run(database, EmbeddingStats(space=filled.space.name, embedded=300, seconds=10, device="cpu"))
    assert "throughput" not in failing()
    monkeypatch.setenv("EMBEDDING_THROUGHPUT_FLOOR", "30.5")

    evaluation = failing()["throughput"]

    assert evaluation.metadata["chunks_per_second"].value == 30.0
    assert evaluation.severity is AssetCheckSeverity.WARN


def test_low_coverage(filled, database, monkeypatch):
    insert_chunks(database, ["one more"])

    assert set(failing()) == {"coverage"}
    assert failing()["coverage"].metadata["pending"].value == 1
    monkeypatch.setenv("EMBEDDING_COVERAGE_FLOOR", "0.9")
    assert failing() == {}


def test_a_quarantined_chunk(filled, database):
    [chunk_hash] = insert_chunks(database, ["one more"])
    execute(
        database,
        "INSERT INTO embedding_failures (chunk_hash, space, error_code, attempts, retry_at, quarantined) "
        "VALUES (%s, %s, 'encoding_failed', 3, now(), true)",
        chunk_hash,
        filled.space.name,
    )

    evaluation = failing()["quarantine_empty"]

    assert evaluation.metadata["quarantined"].value == 1
    assert "embedding-assets failures --retry" in evaluation.description


def test_a_hash_that_no_partition_reaches(filled, database):
    upper = hashlib.sha256(b"x").hexdigest().upper()
    execute(database, "INSERT INTO knowledge_base (chunk_hash, chunk_text) VALUES (%s, 'x')", upper)

    assert failing()["hashes_reachable"].metadata["unreachable"].value == 1


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("DROP INDEX idx_knowledge_embedding", "does not exist"),
        ("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_knowledge_embedding'::regclass", "is invalid"),
    ],
)
def test_an_index_that_is_missing_or_broken(filled, database, fault, message):
    execute(database, fault)

    evaluation = failing()["index_valid"]

    assert message in evaluation.description
    assert evaluation.severity is AssetCheckSeverity.ERROR


def test_an_index_that_is_not_as_configured(filled, monkeypatch):
    monkeypatch.setenv("EMBEDDING_INDEX_M", "8")

    assert "was built with vector_cosine_ops, m=16" in failing()["index_valid"].description


def test_the_index_of_another_space(filled, settings, database):
    other = register_space(database, FAKE_SPACE, new_space=True)
    EmbeddingGenerator(
        settings.with_embedding(new_space=True), database=database, provider=FakeProvider()
    ).generate_embeddings_batch()

    assert f"space {FAKE_SPACE.name}: index {other.index} does not exist" in failing()["index_valid"].description

    build_vector_index(database, other, settings.index)
    assert failing() == {}


def test_low_recall_and_that_it_was_better(filled, settings, database, monkeypatch):
    """The sparsest graph, over random vectors that have no near neighbours."""
    insert_chunks(database, [f"more {n}" for n in range(800)])
    column = register_space(database, FAKE_SPACE, new_space=True)
    EmbeddingGenerator(
        settings.with_embedding(new_space=True), database=database, provider=FakeProvider()
    ).generate_embeddings_batch()
    build_indexes(database, column, IndexConfig(m=2, ef_construction=4, ef_search=400))
    for name, value in (("M", "2"), ("EF_CONSTRUCTION", "4"), ("EF_SEARCH", "1")):
        monkeypatch.setenv(f"EMBEDDING_INDEX_{name}", value)

    found = failing()

    assert {"recall", "recall_drop"} <= set(found)
    assert f"space {FAKE_SPACE.name}: recall@10 is 0." in found["recall"].description
    assert found["recall"].severity is AssetCheckSeverity.WARN
    assert "Raise EMBEDDING_INDEX_M" in found["recall"].description
    assert f"embedding-assets spaces accept-recall {FAKE_SPACE.name}" in found["recall_drop"].description
    assert found["recall_drop"].severity is AssetCheckSeverity.WARN

    for space in (column, filled):
        accept_recall(database, space, get_settings().index)
    monkeypatch.setenv("EMBEDDING_RECALL_FLOOR", "0")
    assert not {"recall", "recall_drop"} & set(failing())


def test_a_bloated_index(filled, settings, database):
    insert_chunks(database, [f"more {n}" for n in range(400)])
    execute(database, "UPDATE knowledge_base SET embedding = array_fill(0.0360844, ARRAY[768])::vector + "
            "('[' || random() || repeat(',0', 767) || ']')::vector WHERE chunk_text LIKE 'more%%'")  # fmt: skip
    execute(database, "DELETE FROM knowledge_base WHERE chunk_text LIKE 'more%%'")

    evaluation = failing()["bloat"]

    assert evaluation.metadata["bloat"].value > 1.5
    assert "Materialize pgvector_index_health" in evaluation.description
    build_indexes(database, filled, settings.index)
    assert failing() == {}


def test_an_old_pgvector(filled, database):
    execute(database, "UPDATE pg_extension SET extversion = '0.8.1' WHERE extname = 'vector'")

    found = failing()

    # With one so old nothing is done with the database.
    assert set(found) == {"index_valid", "recall", "recall_drop", "bloat", "planner_uses_index", "pgvector_version"}
    evaluation = found["pgvector_version"]
    assert evaluation.severity is AssetCheckSeverity.ERROR
    assert evaluation.description.startswith("pgvector 0.8.1 is older than")
    assert "ALTER EXTENSION vector UPDATE" in evaluation.description
    assert found["recall"].severity is AssetCheckSeverity.WARN


def test_a_chunk_that_waits_for_too_long(filled, database, monkeypatch):
    insert_chunks(database, ["one more"])
    execute(database, "UPDATE embedding_spaces SET created_at = now() - interval '3 days'")
    execute(database, "UPDATE knowledge_base SET pending_since = now() - interval '25 hours' WHERE embedding IS NULL")

    evaluation = failing()["backlog_age"]

    assert evaluation.metadata["oldest_pending_hours"].value == 25.0
    assert evaluation.severity is AssetCheckSeverity.WARN
    assert "sensor" in evaluation.description
    monkeypatch.setenv("EMBEDDING_BACKLOG_AGE_HOURS", "26")
    assert "backlog_age" not in failing()


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
            tags=range_tags(PrefixRange("0", "f")),
            raise_on_error=False,
        )

    assert not result.success
    assert {event.asset_key for event in result.get_asset_materialization_events()} == {
        AssetKey("chunks_pending"),
        AssetKey("chunk_embeddings"),
    }
    exists = database.run(lambda c: c.execute("SELECT to_regclass('idx_knowledge_embedding')").fetchone())
    assert exists == (None,)
