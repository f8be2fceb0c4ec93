"""The state of a table: numbers and verdicts, each check shown failing on the real database."""

import json
import time
from dataclasses import replace
from decimal import Decimal

import pytest

from embedding_assets import EmbeddingGenerator
from embedding_assets.config import BudgetConfig, IndexConfig, Settings
from embedding_assets.errors import ConfigurationError
from embedding_assets.health.judge import judge_embeddings, judge_vector_index
from embedding_assets.models import EmbeddingStats
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.index.build import build_vector_index
from embedding_assets.postgres.index.lifecycle import accept_recall, build_indexes
from embedding_assets.postgres.index.measurements import latest_measurement, save_measurement
from embedding_assets.postgres.runs import save_run
from embedding_assets.postgres.spaces import register_space
from embedding_assets.postgres.usage.admission import Admitted, admit, settle
from embedding_assets.postgres.usage.endpoints import RateLimits
from embedding_assets.postgres.usage.ledger import ApiRequest, CostRow, total_costs
from embedding_assets.reporting.status import inspect_table
from embedding_assets.spaces import SpaceColumn
from embedding_assets_tests.support.fakes import FAKE_SPACE, FakeProvider, insert_chunks

TEXTS = [f"text {number}" for number in range(120)]


@pytest.fixture
def column(settings: Settings, database: Database) -> SpaceColumn:
    """A space in which all of ``TEXTS`` are embedded and indexed."""
    insert_chunks(database, TEXTS)
    EmbeddingGenerator(settings, database=database, provider=FakeProvider()).generate_embeddings_batch()
    column = register_space(database, FAKE_SPACE)
    build_vector_index(database, column, settings.index)
    return column


def execute(database: Database, statement: str) -> None:
    database.run(lambda connection: connection.execute(statement))  # type: ignore[arg-type]


def verdicts(database: Database, column: SpaceColumn, settings: Settings) -> dict[str, bool]:
    found = [*judge_embeddings(database, column, settings), *judge_vector_index(database, column, settings)]
    return {verdict.name: verdict.passed for verdict in found}


def test_an_empty_table(database: Database):
    table = inspect_table(database)
    assert (table.chunks, table.spaces) == (0, [])
    insert_chunks(database, TEXTS[:3])
    assert inspect_table(database).chunks == 3


def test_a_space_of_an_empty_table_misses_nothing(database: Database):
    register_space(database, FAKE_SPACE)
    assert inspect_table(database).spaces[0].coverage == 1.0


def test_the_costs_of_all_spaces_together(database: Database):
    assert total_costs(database) == CostRow("total", 0, 0, 0, Decimal(0), Decimal(0))
    for space, tokens in (("one", 1000), ("two", 3000)):
        request = ApiRequest("endpoint", space, "openai", "model", "run", 10, tokens, 2 * tokens, Decimal(1000))
        admitted = admit(database, request, RateLimits(None, None), BudgetConfig(), lifetime_seconds=60)
        assert isinstance(admitted, Admitted)
        settle(database, admitted.reservation, tokens=tokens, rates=None)
    assert total_costs(database) == CostRow("total", 2, 20, 4000, Decimal(4), Decimal(0))


def test_numbers(database: Database, column: SpaceColumn, settings: Settings):
    insert_chunks(database, ["new one", "new two"])
    other = register_space(database, replace(FAKE_SPACE, dimensions=32), new_space=True)
    table = inspect_table(database)
    assert table.chunks == 122
    first, second = (space.as_dict() for space in table.spaces)
    assert first["name"] == column.space.name
    assert (first["column"], first["dimensions"], first["serving"]) == ("embedding", 768, True)
    assert (first["embedded"], first["pending"], first["quarantined"]) == (120, 2, 0)
    assert first["coverage"] == pytest.approx(120 / 122)
    assert first["index"]["name"] == "idx_knowledge_embedding"
    assert first["index"]["valid"] is True
    assert first["index"]["size_bytes"] > 0
    assert first["latest_run"]["embedded"] == 120
    assert (second["name"], second["serving"], second["embedded"]) == (other.space.name, False, 0)
    assert second["index"] == {"name": other.index, "exists": False, "valid": False, "size_bytes": 0}
    assert second["latest_run"] is None
    assert json.loads(json.dumps(first, default=str))["provider"] == "fake"


def test_all_is_well(database: Database, column: SpaceColumn, settings: Settings):
    assert verdicts(database, column, settings) == {
        "finite_dimensions": True,
        "unit_norm": True,
        "throughput": True,
        "coverage": True,
        "backlog_age": True,
        "quarantine_empty": True,
        "hashes_reachable": True,
        "index_valid": True,
        "recall": True,
        "recall_drop": True,
        "bloat": True,
        "planner_uses_index": True,
        "pgvector_version": True,
    }


_TEXT_3 = "WHERE chunk_text = 'text 3'"
DAMAGE = [
    ("finite_dimensions", f"UPDATE knowledge_base SET embedding = array_fill(0, ARRAY[768])::vector {_TEXT_3}"),
    ("finite_dimensions", f"UPDATE knowledge_base SET embedding = array_fill(1, ARRAY[768])::vector {_TEXT_3}"),
    ("unit_norm", f"UPDATE knowledge_base SET embedding = array_fill(0, ARRAY[768])::vector {_TEXT_3}"),
    ("unit_norm", f"UPDATE knowledge_base SET embedding = array_fill(1, ARRAY[768])::vector {_TEXT_3}"),
    ("coverage", f"UPDATE knowledge_base SET embedding = NULL {_TEXT_3}"),
    (
        "backlog_age",
        f"UPDATE knowledge_base SET embedding = NULL, pending_since = now() - interval '25 hours' {_TEXT_3};"
        "UPDATE embedding_spaces SET created_at = now() - interval '2 days'",
    ),
    ("coverage", f"UPDATE knowledge_base SET chunk_text = 'edited' {_TEXT_3}"),
    (
        "quarantine_empty",
        "INSERT INTO embedding_failures (chunk_hash, space, error_code, attempts, retry_at, quarantined) "
        "SELECT 'abab', name, 'odd', 3, now(), true FROM embedding_spaces",
    ),
    ("hashes_reachable", "INSERT INTO knowledge_base (chunk_hash, chunk_text) VALUES ('XYZ', 'odd')"),
    ("index_valid", "DROP INDEX idx_knowledge_embedding"),
    ("index_valid", "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_knowledge_embedding'::regclass"),
    ("pgvector_version", "UPDATE pg_extension SET extversion = '0.8.3' WHERE extname = 'vector'"),
]


@pytest.mark.parametrize(("check", "damage"), DAMAGE)
def test_each_check_fails_on_its_damage(
    check: str, damage: str, database: Database, column: SpaceColumn, settings: Settings
):
    if check == "quarantine_empty":
        execute(database, "INSERT INTO knowledge_base (chunk_hash, chunk_text) VALUES ('abab', 'odd')")
    assert verdicts(database, column, settings)[check]
    execute(database, damage)
    found = verdicts(database, column, settings)
    assert not found[check]
    accompanying = {
        "finite_dimensions": {"unit_norm"},
        "unit_norm": {"finite_dimensions"},
        "backlog_age": {"coverage"},
        "hashes_reachable": {"coverage"},
        "quarantine_empty": {"coverage"},
    }.get(check, set())
    assert {name for name, passed in found.items() if not passed} == {check} | accompanying


def test_another_index_configuration(database: Database, column: SpaceColumn, settings: Settings):
    other = settings.model_copy(update={"index": IndexConfig(m=8)})
    assert not verdicts(database, column, other)["index_valid"]


def test_a_slow_run(database: Database, column: SpaceColumn, settings: Settings):
    save_run(database, EmbeddingStats(space=column.space.name, embedded=100, seconds=60.0, device="cpu"))
    assert not verdicts(database, column, settings)["throughput"]
    # Later runs of a few chunks say nothing about speed.
    save_run(database, EmbeddingStats(space=column.space.name, embedded=1, seconds=0.01, device="cpu"))
    assert not verdicts(database, column, settings)["throughput"]


def test_poor_recall(settings: Settings, database: Database):
    insert_chunks(database, [f"text {number}" for number in range(800)])
    EmbeddingGenerator(settings, database=database, provider=FakeProvider()).generate_embeddings_batch()
    column = register_space(database, FAKE_SPACE)
    recall = judge_vector_index(database, column, settings)[1]
    assert recall.passed
    assert recall.description.startswith("not measured")

    # The sparsest graph, over random vectors that have no near neighbours.
    poor = settings.model_copy(update={"index": IndexConfig(m=2, ef_construction=4, ef_search=1)})
    build_vector_index(database, column, poor.index)
    index, recall, *_ = judge_vector_index(database, column, poor)
    assert index.passed
    assert not recall.passed
    assert recall.numbers["queries"] == 100


def test_the_backlog_age_that_is_acceptable_can_be_set(database: Database, column: SpaceColumn, settings: Settings):
    execute(
        database, f"UPDATE knowledge_base SET embedding = NULL, pending_since = now() - interval '1 hour' {_TEXT_3}"
    )
    execute(database, "UPDATE embedding_spaces SET created_at = now() - interval '2 days'")
    assert verdicts(database, column, settings)["backlog_age"]
    assert not verdicts(database, column, settings.with_embedding(backlog_age_hours=0.5))["backlog_age"]


def test_a_fall_of_the_recall_is_noticed_until_it_is_accepted(database: Database, settings: Settings):
    insert_chunks(database, [f"text {number}" for number in range(800)])
    EmbeddingGenerator(settings, database=database, provider=FakeProvider()).generate_embeddings_batch()
    column = register_space(database, FAKE_SPACE)
    good = settings.model_copy(update={"index": IndexConfig(m=2, ef_construction=4, ef_search=400)})
    build_indexes(database, column, good.index)
    assert verdicts(database, column, good)["recall_drop"]

    # Searches that look at fewer candidates: the same index finds less.
    poor = settings.model_copy(update={"index": IndexConfig(m=2, ef_construction=4, ef_search=1)})
    [drop] = [v for v in judge_vector_index(database, column, poor) if v.name == "recall_drop"]
    assert not drop.passed
    assert "ef_search was 400 and is 1" in drop.description
    assert f"embedding-assets spaces accept-recall {column.space.name}" in drop.description

    accepted = accept_recall(database, column, poor.index)
    assert accepted.accepted
    assert accepted.details["ef_search"] == 1
    assert verdicts(database, column, poor)["recall_drop"]


def test_a_recall_that_cannot_be_measured_cannot_be_accepted(database: Database, settings: Settings):
    insert_chunks(database, TEXTS[:3])
    column = register_space(database, FAKE_SPACE)
    with pytest.raises(ConfigurationError, match="has no recall to accept: 0 vectors are too few"):
        accept_recall(database, column, settings.index)
    assert latest_measurement(database, column.space.name) is None


def test_an_index_that_is_too_large(database: Database, column: SpaceColumn, settings: Settings):
    """Vectors written anew leave their entries behind."""
    assert verdicts(database, column, settings)["bloat"]
    insert_chunks(database, [f"more {number}" for number in range(800)])
    EmbeddingGenerator(settings, database=database, provider=FakeProvider()).generate_embeddings_batch()
    execute(database, "DELETE FROM knowledge_base WHERE chunk_text LIKE 'more%'")
    assert not verdicts(database, column, settings)["bloat"]
    build_indexes(database, column, settings.index)
    assert verdicts(database, column, settings)["bloat"]


def wait_for_statistics(database: Database, updated: int) -> None:
    """An idle connection tells what it has changed after ten seconds."""
    query = "SELECT pg_stat_get_tuples_updated('knowledge_base'::regclass)"
    deadline = time.monotonic() + 30
    while database.run(lambda connection: connection.execute(query).fetchone()) != (updated,):
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_checks_use_the_numbers_that_the_asset_has_kept(database: Database, column: SpaceColumn, settings: Settings):
    execute(database, "ALTER TABLE knowledge_base SET (autovacuum_enabled = off)")
    # Otherwise its vectors seem to be written anew between two measurements.
    wait_for_statistics(database, updated=len(TEXTS))
    [report] = build_indexes(database, column, settings.index)
    kept = replace(report.measurement, recall=0.25, id=None)
    save_measurement(database, kept)
    [recall] = [v for v in judge_vector_index(database, column, settings) if v.name == "recall"]
    assert recall.numbers["recall_at_10"] == 0.25
    execute(database, "DELETE FROM knowledge_base WHERE chunk_text LIKE 'text 1_'")
    [recall] = [v for v in judge_vector_index(database, column, settings) if v.name == "recall"]
    assert recall.numbers["recall_at_10"] == 1.0
