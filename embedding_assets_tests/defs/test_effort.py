"""What a run of one new chunk costs in a table of many: counted by PostgreSQL, and by the API."""

import re
import time

import pytest
from dagster import MarkdownMetadataValue

from embedding_assets.config import get_settings
from embedding_assets.defs.effort import THOROUGH_TAG
from embedding_assets.defs.jobs import range_tags
from embedding_assets.planning import PrefixRange
from embedding_assets.postgres.index.lifecycle import build_indexes
from embedding_assets.postgres.index.searching import build_for_searches
from embedding_assets.providers.space_selection import select_for_run
from embedding_assets_tests.support.fakes import hash_of, insert_chunks, vector_of
from embedding_assets_tests.support.materializing import materialize, metadata_of
from embedding_assets_tests.support.selecting import select_unasked
from embedding_assets_tests.support.tiny_model import DIMENSIONS, save_tiny_model
from fake_api.server import ApiServer

pytestmark = pytest.mark.uncovered

ROWS = 20_000

ROWS_READ = """
    SELECT seq_tup_read + idx_tup_fetch + (
        -- Not the graph's: how much of that an insert goes through is pgvector's affair.
        SELECT sum(idx_tup_read) FROM pg_stat_user_indexes i JOIN pg_class c ON c.oid = i.indexrelid
        JOIN pg_am a ON a.oid = c.relam WHERE i.relid = t.relid AND a.amname = 'btree'
    ) FROM pg_stat_user_tables t WHERE relid = 'knowledge_base'::regclass
"""
BLOCKS_READ = """
    SELECT heap_blks_read + heap_blks_hit + coalesce(toast_blks_read + toast_blks_hit, 0)
    FROM pg_statio_user_tables WHERE relid = 'knowledge_base'::regclass
"""


@pytest.fixture
def tiny(settings, tmp_path, monkeypatch):
    """Settings of a model that is loaded at once."""
    monkeypatch.setenv("EMBEDDING_MODEL_NAME", str(save_tiny_model(tmp_path / "tiny")))
    monkeypatch.setenv("EMBEDDING_DIMENSIONS", str(DIMENSIONS))
    return get_settings()


@pytest.fixture
def table(database, beside):
    """Fills the table for a space, with an index and a measurement of it."""

    def fill(column, config, vectors):
        beside.execute("ALTER TABLE knowledge_base SET (autovacuum_enabled = off)")
        statement = f"COPY knowledge_base (chunk_hash, chunk_text, {column.name}) FROM STDIN"
        with beside.cursor().copy(statement) as copy:
            for number in range(ROWS):
                text, vector = vectors[number % len(vectors)]
                copy.write_row((hash_of(f"row {number}"), text, str(vector)))
        beside.execute("VACUUM (ANALYZE) knowledge_base")
        build_indexes(database, column, config)
        build_for_searches(database, config, get_settings().search.language)

    return fill


@pytest.fixture
def filled(tiny, database, table):
    """The table, filled with vectors of that model."""
    selection = select_for_run(tiny, database)
    texts = [f"some words about number {number}" for number in range(1000)]
    [*batches] = selection.open_provider().embed(texts)
    vectors = [
        (texts[index], vector.tolist()) for b in batches for index, vector in zip(b.indices, b.vectors, strict=True)
    ]
    table(selection.column, tiny.index, vectors)
    insert_chunks(database, ["one new chunk"])
    database.close()


def settled(beside, query):
    """A counter, once it stands still: sessions report what they did when they end."""
    before, unchanged = None, 0
    deadline = time.monotonic() + 180
    while unchanged < 3 and time.monotonic() < deadline:
        beside.execute("SELECT pg_stat_clear_snapshot()")
        [now] = beside.execute(query).fetchone()
        unchanged = unchanged + 1 if now == before else 0
        before = now
        time.sleep(0.4)
    return before


def read_by(beside, action):
    """Rows and blocks of the table and its indexes that an action reads."""
    beside.execute("SELECT pg_stat_force_next_flush()")
    before = [settled(beside, query) for query in (ROWS_READ, BLOCKS_READ)]
    action()
    after = [settled(beside, query) for query in (ROWS_READ, BLOCKS_READ)]
    return [now - then for then, now in zip(before, after, strict=True)]


def evaluations(result):
    return {evaluation.check_name: evaluation for evaluation in result.get_asset_check_evaluations()}


@pytest.mark.usefixtures("filled")
def test_a_run_of_one_chunk_reads_no_more_than_that_is_worth(beside, instance):
    results = []

    rows, blocks = read_by(beside, lambda: results.append(materialize(instance)))

    [result] = results
    checks = evaluations(result)
    assert len(checks) == 15
    assert all(check.passed for check in checks.values())
    assert metadata_of(result, "chunk_embeddings")["run_embedded"] == 1
    assert checks["vectors_match_model"].metadata["compared"].value == 1
    assert re.match(r"about 20,00\d of 20,00\d chunks are embedded", checks["coverage"].description)
    pending = metadata_of(result, "chunks_pending")
    assert (pending["pending"], pending["chunks"]) == (1, pytest.approx(ROWS, rel=0.01))
    assert rows < 5_000
    assert blocks < 2_000

    tags = {**range_tags(PrefixRange("0", "f")), THOROUGH_TAG: "true"}
    rows, _ = read_by(beside, lambda: results.append(materialize(instance, tags=tags)))
    assert rows > ROWS
    assert evaluations(results[1])["vectors_match_model"].metadata["compared"].value == 64


@pytest.mark.usefixtures("filled")
def test_the_command_too(database, beside, run):
    rows, blocks = read_by(beside, lambda: run("embed", "--json"))

    assert database.run(lambda c: c.execute("SELECT count(embedding) FROM knowledge_base").fetchone()) == (ROWS + 1,)
    assert rows < 200
    assert blocks < 200


def test_an_api_is_asked_for_the_chunk_alone(settings, database, beside, instance, table, monkeypatch):
    with ApiServer(api_key="k") as server:
        for name, value in {
            "PROVIDER": "openai", "OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": "k", "OPENAI_DIMENSIONS": "32",
        }.items():  # fmt: skip
            monkeypatch.setenv(f"EMBEDDING_{name}", value)
        vectors = [(f"text {number}", vector_of(f"text {number}", 32).tolist()) for number in range(1000)]
        table(select_unasked(get_settings(), database).column, get_settings().index, vectors)
        insert_chunks(database, ["one new chunk"])

        result = materialize(instance)

        assert metadata_of(result, "chunk_embeddings")["run_embedded"] == 1
        assert [served.inputs for served in server.served] == [1]
        assert "is not checked: an API is asked by the nightly run" in (
            evaluations(result)["vectors_match_model"].description
        )


@pytest.mark.usefixtures("tiny")
def test_a_run_without_work_loads_no_model(database, instance, monkeypatch):
    insert_chunks(database, ["one chunk"])
    materialize(instance)
    monkeypatch.setattr("embedding_assets.health.audit.audit_space", lambda *_: pytest.fail("looked"))
    checks = evaluations(materialize(instance))
    assert checks["vectors_match_model"].passed
    assert "nothing was embedded" in checks["vectors_match_model"].description


@pytest.mark.usefixtures("tiny")
def test_pictures_are_drawn_where_a_hundredth_has_changed_or_somebody_asks(database, instance):
    insert_chunks(database, [f"chunk {number}" for number in range(220)])
    assert drawn(materialize(instance)) == {"chunks_pending", "chunk_embeddings", "pgvector_index_health"}
    insert_chunks(database, ["one more"])
    assert drawn(materialize(instance)) == set()
    insert_chunks(database, ["another"])
    tags = {**range_tags(PrefixRange("0", "f")), THOROUGH_TAG: "true"}
    assert drawn(materialize(instance, tags=tags)) == {"chunks_pending", "chunk_embeddings", "pgvector_index_health"}
    insert_chunks(database, [f"more {number}" for number in range(5)])
    assert "chunks_pending" in drawn(materialize(instance))


def drawn(result):
    """Assets whose materializations have pictures."""
    events = result.get_asset_materialization_events()
    markdown = [
        (event.asset_key.path[-1], value)
        for event in events
        for value in event.materialization.metadata.values()
        if isinstance(value, MarkdownMetadataValue)
    ]
    return {name for name, value in markdown if "data:image" in value.value or "<svg" in value.value}
