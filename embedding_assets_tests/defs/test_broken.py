"""Each check is broken on purpose: it fails, says what to do, and no check does that has nothing to do with it."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from dagster import AssetCheckSeverity, build_sensor_context
from pgvector import Vector

from embedding_assets import EmbeddingGenerator
from embedding_assets.config import Settings, get_settings
from embedding_assets.definitions import defs
from embedding_assets.models import EmbeddingStats
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.index import statistics
from embedding_assets.postgres.index.build import build_vector_index
from embedding_assets.postgres.index.lifecycle import accept_recall, build_indexes
from embedding_assets.postgres.runs import save_run
from embedding_assets.postgres.spaces import register_space
from embedding_assets.spaces import SpaceColumn
from embedding_assets_tests.support.defined import new_chunks_sensor
from embedding_assets_tests.support.evaluating import evaluate, execute, failing
from embedding_assets_tests.support.fakes import FAKE_SPACE, FakeProvider, hash_of, insert_chunks, vector_of
from embedding_assets_tests.support.generator_runs import texts
from embedding_assets_tests.support.materializing import materialize

pytestmark = pytest.mark.uncovered

ONE = "(SELECT min(chunk_hash) FROM knowledge_base)"
INDEX_CHECKS = {"index_valid", "recall", "recall_drop", "bloat", "planner_uses_index", "pgvector_version"}


@dataclass(frozen=True)
class Table:
    """Thirty embedded chunks with an index, and the settings that the checks are evaluated with."""

    settings: Settings
    database: Database
    column: SpaceColumn
    setenv: Callable[[str, str], None]

    def execute(self, statement: str, *parameters: object) -> None:
        execute(self.database, statement, *parameters)

    def add_pending(self) -> str:
        """A chunk without a vector, in a table that need not be complete."""
        self.setenv("EMBEDDING_COVERAGE_FLOOR", "0")
        [chunk_hash] = insert_chunks(self.database, ["one more"])
        return chunk_hash

    def add_space(self, count: int, dimensions: int) -> SpaceColumn:
        """A second space, of random vectors that have no near neighbours; the first one is not complete then."""
        self.setenv("EMBEDDING_COVERAGE_FLOOR", "0")
        space = dataclasses.replace(FAKE_SPACE, dimensions=dimensions)
        column = register_space(self.database, space, new_space=True)
        rows = [(hash_of(text), text, Vector(vector_of(text, dimensions))) for text in texts(count, "random")]
        statement = f"COPY knowledge_base (chunk_hash, chunk_text, {column.name}) FROM STDIN (FORMAT BINARY)"

        def write(connection):
            with connection.cursor().copy(statement) as copy:
                copy.set_types(["text", "text", "vector"])
                for row in rows:
                    copy.write_row(row)

        self.database.run(write)
        EmbeddingGenerator(
            self.settings, database=self.database, provider=FakeProvider(space=space)
        ).generate_embeddings_batch()
        return column


@pytest.fixture
def table(settings, database, filled, monkeypatch):
    return Table(settings, database, filled, monkeypatch.setenv)


# What breaks each check


def store_a_short_vector(table):
    table.execute("DROP INDEX idx_knowledge_embedding")
    table.execute("DROP TRIGGER embedding_removed ON knowledge_base")
    table.execute("ALTER TABLE knowledge_base ALTER COLUMN embedding TYPE vector")
    table.execute(f"UPDATE knowledge_base SET embedding = '[1]' WHERE chunk_hash = {ONE}")


def stretch_a_vector(table):
    table.execute(f"UPDATE knowledge_base SET embedding = embedding + embedding WHERE chunk_hash = {ONE}")


def overwrite_a_tenth(table):
    for text in texts(3):
        table.execute(
            "UPDATE knowledge_base SET embedding = %s WHERE chunk_hash = %s", Vector(vector_of(text)), hash_of(text)
        )


def run_slowly(table):
    save_run(table.database, EmbeddingStats(space=table.column.space.name, embedded=300, seconds=100, device="cpu"))


def leave_one_out(table):
    insert_chunks(table.database, ["one more"])


def stop_embedding(table):
    """As when the sensor is off: a day passes in which nothing takes up what was loaded."""
    chunk_hash = table.add_pending()
    table.execute("UPDATE embedding_spaces SET created_at = now() - interval '3 days'")
    table.execute(
        "UPDATE knowledge_base SET pending_since = now() - interval '25 hours' WHERE chunk_hash = %s", chunk_hash
    )


def give_a_chunk_up(table):
    pending = table.add_pending()
    table.execute(
        "INSERT INTO embedding_failures (chunk_hash, key, space, error_code, attempts, retry_at, quarantined) "
        "VALUES (%s, ARRAY[%s], %s, 'encoding_failed', 3, now(), true)",
        pending,
        pending,
        table.column.space.name,
    )


def use_a_hash_of_no_partition(table):
    table.execute("UPDATE knowledge_base SET chunk_hash = upper('x' || chunk_hash) WHERE chunk_hash = %s",
                  table.add_pending())  # fmt: skip


def spend_nearly_all(table):
    table.setenv("EMBEDDING_BUDGET_USD_PER_MONTH", "10")
    table.execute(
        "INSERT INTO embedding_usage (endpoint, space, provider, model, run_id, inputs, tokens, usd, reserved_usd, "
        "state, expires_at) VALUES ('api', 'space', 'openai', 'model', 'run', 1, 1, 9.5, 9.5, 'settled', now())"
    )


def drop_the_index(table):
    table.execute("DROP INDEX idx_knowledge_embedding")


def search_a_sparse_graph(table, **config):
    """Both indexes with few links, so that what is found depends on how thoroughly a search looks."""
    column = table.add_space(1500, 768)
    table.setenv("EMBEDDING_INDEX_M", "8")
    table.setenv("EMBEDDING_INDEX_EF_CONSTRUCTION", "16")
    build_indexes(table.database, column, get_settings().index.model_copy(update=config))


def search_hardly_at_all(table):
    search_a_sparse_graph(table)
    table.execute("DELETE FROM embedding_index_measurements")  # as if it had never been measured
    table.setenv("EMBEDDING_INDEX_EF_SEARCH", "1")


def search_less_than_before(table):
    search_a_sparse_graph(table, ef_search=400)
    table.setenv("EMBEDDING_INDEX_EF_SEARCH", "1")
    table.setenv("EMBEDDING_RECALL_FLOOR", "0")


def leave_dead_entries(table):
    insert_chunks(table.database, texts(400, "more"))
    table.execute(
        "UPDATE knowledge_base SET embedding = array_fill(0.0360844, ARRAY[768])::vector + "
        "('[' || random() || repeat(',0', 767) || ']')::vector WHERE starts_with(chunk_text, 'more')"
    )
    table.execute("DELETE FROM knowledge_base WHERE starts_with(chunk_text, 'more')")
    with table.database.session() as session:
        session.execute("VACUUM knowledge_base")  # after which they are no longer in the way of searches


def mislead_the_planner(table):
    """Random reads are said to be so dear that it would rather read everything."""
    column = table.add_space(10_001, 8)
    build_vector_index(table.database, column, table.settings.index)
    name = table.database.run(lambda c: c.execute("SELECT current_database()").fetchone())[0]
    with table.database.session() as session:
        session.execute(f'ALTER DATABASE "{name}" SET random_page_cost = 1e6')


def install_an_old_pgvector(table):
    table.execute("UPDATE pg_extension SET extversion = '0.7.4' WHERE extname = 'vector'")


@dataclass(frozen=True)
class Breakage:
    """What is done, what the check then advises, how bad it is, and which other checks see the same fault rightly."""

    fault: Callable[[Table], None]
    advice: str
    blocking: bool = False
    also: frozenset[str] = frozenset()


BREAKAGES = {
    # A column of vectors of any length can have no index, and such a vector is not its model's.
    "finite_dimensions": Breakage(
        store_a_short_vector,
        "Set those vectors to NULL and embed again",
        True,
        frozenset({"index_valid", "vectors_match_model"}),
    ),
    # Which looks at lengths too.
    "unit_norm": Breakage(stretch_a_vector, "and embed again", True, frozenset({"finite_dimensions"})),
    "vectors_match_model": Breakage(overwrite_a_tenth, "to NULL", True),
    "throughput": Breakage(run_slowly, "lower EMBEDDING_THROUGHPUT_FLOOR"),
    "coverage": Breakage(leave_one_out, "Materialize the remaining partitions"),
    "backlog_age": Breakage(stop_embedding, "See that the sensor on new chunks is on"),
    "quarantine_empty": Breakage(give_a_chunk_up, "embedding-assets failures --retry"),
    "hashes_reachable": Breakage(use_a_hash_of_no_partition, "find them by: chunk_hash !~"),
    "costs_within_budget": Breakage(spend_nearly_all, "or wait until the limit resets: at a limit embedding stops"),
    "index_valid": Breakage(drop_the_index, "Materialize pgvector_index_health", True),
    "recall": Breakage(search_hardly_at_all, "Set EMBEDDING_INDEX_EF_SEARCH="),
    "recall_drop": Breakage(search_less_than_before, "embedding-assets spaces accept-recall"),
    "bloat": Breakage(leave_dead_entries, "Materialize pgvector_index_health"),
    "planner_uses_index": Breakage(mislead_the_planner, "Run ANALYZE knowledge_base"),
    # With one so old the database is not opened, and nothing is known of its indexes.
    "pgvector_version": Breakage(
        install_an_old_pgvector, "ALTER EXTENSION vector UPDATE", True, frozenset(INDEX_CHECKS - {"pgvector_version"})
    ),
}


def test_every_check_is_broken_here():
    definitions = defs.asset_checks or []
    assert {key.name for definition in definitions for key in definition.check_keys} == set(BREAKAGES)


@pytest.mark.parametrize("name", BREAKAGES)
def test_what_is_broken_is_shown_failing(table, name):
    breakage = BREAKAGES[name]
    breakage.fault(table)

    found = failing()

    assert set(found) == {name, *breakage.also}
    assert breakage.advice in found[name].description
    assert found[name].severity is (AssetCheckSeverity.ERROR if breakage.blocking else AssetCheckSeverity.WARN)


# What happens to a table in earnest, and that it can be repaired


def test_the_index_is_deleted(table, instance):
    drop_the_index(table)
    assert set(failing()) == {"index_valid"}

    assert materialize(instance).success
    assert failing() == {}


@pytest.mark.parametrize("place", [0, 1234])
def test_a_single_zero_vector_in_a_large_column(table, monkeypatch, place):
    """Far more vectors than a sample has, and only one of them is zero."""
    monkeypatch.setattr(statistics, "SAMPLE_ROWS", 20)
    table.execute(
        "INSERT INTO knowledge_base (chunk_hash, chunk_text, embedding) SELECT encode(sha256(n::text::bytea), 'hex'), "
        "'text 0', (SELECT embedding FROM knowledge_base WHERE chunk_text = 'text 0') FROM generate_series(1, 2000) n"
    )
    table.execute("ANALYZE knowledge_base")
    assert evaluate()["unit_norm"].metadata["sampled"].value == 2030
    table.execute(
        "UPDATE knowledge_base SET embedding = array_fill(0, ARRAY[768])::vector WHERE chunk_hash = "
        "(SELECT chunk_hash FROM knowledge_base ORDER BY chunk_hash OFFSET %s LIMIT 1)", place
    )  # fmt: skip

    found = failing()["unit_norm"]

    assert found.metadata["zero"].value == 1
    assert "1 has length zero and no direction" in found.description
    table.execute("DELETE FROM knowledge_base WHERE vector_norm(embedding) = 0")
    assert "unit_norm" not in failing()


def test_another_model_overwrites_a_tenth(table):
    overwrite_a_tenth(table)
    found = failing()
    assert set(found) == {"vectors_match_model"}
    assert found["vectors_match_model"].metadata["mismatched"].value == 3
    description = found["vectors_match_model"].description
    assert f"space {table.column.space.name}: 3 of 30 vectors are not what demo/" in description
    assert all(hash_of(text) in description for text in texts(3))
    assert not any(text in description for text in texts(30))

    # The way out that the check names.
    table.execute("UPDATE knowledge_base SET embedding = NULL WHERE chunk_hash = ANY(%s)", list(map(hash_of, texts(3))))
    EmbeddingGenerator(table.settings, database=table.database).generate_embeddings_batch()
    assert failing() == {}


def test_the_sensor_is_stopped(table, instance):
    stop_embedding(table)
    found = failing()
    assert set(found) == {"backlog_age"}
    assert found["backlog_age"].metadata["oldest_pending_hours"].value == 25.0

    # Turned on again, it asks for the run that ends the wait.
    resources = {name: defs.resources[name] for name in ("embedding_database", "embedding_model", "embedding_provider")}
    with build_sensor_context(instance=instance, resources=resources) as context:
        [request] = new_chunks_sensor.evaluate_tick(context).run_requests
    first, last = (request.tags[f"dagster/asset_partition_range_{end}"] for end in ("start", "end"))
    assert materialize(instance, first=first, last=last).success
    assert failing() == {}


def test_a_lower_recall_is_a_drop_until_it_is_accepted(table):
    search_less_than_before(table)
    assert set(failing()) == {"recall_drop"}
    column = register_space(table.database, FAKE_SPACE, new_space=True)
    accept_recall(table.database, column, get_settings().index)
    assert failing() == {}
