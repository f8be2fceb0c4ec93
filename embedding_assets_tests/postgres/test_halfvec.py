"""Vectors beyond the 2,000 dimensions that an index of vector can have are stored in half precision."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from embedding_assets import EmbeddingGenerator, search
from embedding_assets.config import IndexConfig, Settings, get_settings
from embedding_assets.errors import ConfigurationError
from embedding_assets.health.audit import audit_space
from embedding_assets.health.judge import judge_everything
from embedding_assets.postgres.catalog import describe_index
from embedding_assets.postgres.index.build import build_vector_index
from embedding_assets.postgres.index.lifecycle import build_indexes
from embedding_assets.postgres.index.recall import measure_recall, planner_uses_index
from embedding_assets.postgres.index.statistics import measure_vectors
from embedding_assets.postgres.samples import sample_sources, sample_vectors
from embedding_assets.postgres.spaces import list_spaces, register_space
from embedding_assets.postgres.vectors import write_vectors
from embedding_assets.providers.space_selection import select_for_run
from embedding_assets_tests.support.api_runs import configure, sentences
from embedding_assets_tests.support.fakes import FAKE_SPACE, FakeProvider, hash_of, insert_chunks, vector_of
from embedding_assets_tests.support.searching import nearest_chunks
from embedding_assets_tests.support.spaces import column_type
from embedding_assets_tests.support.tables import PlanRecorder, pending_chunks, unit_vectors
from fake_api.server import ApiServer

LONG = replace(FAKE_SPACE, dimensions=3072)
CONFIG = IndexConfig()


def embed(database, column, count: int) -> np.ndarray:
    texts = [f"text {number}" for number in range(count)]
    insert_chunks(database, texts)
    chunks = pending_chunks(database, column)
    vectors = np.stack([vector_of(chunk.text, column.space.dimensions) for chunk in chunks])
    assert len(write_vectors(database, column, chunks, vectors).written) == count
    return vectors


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    ("dimensions", "kind"), [(2000, "vector"), (2001, "halfvec"), (3072, "halfvec"), (4000, "halfvec")]
)
def test_the_column_is_chosen_by_the_dimensions(database, execute, first, dimensions, kind):
    if not first:
        register_space(database, FAKE_SPACE)
    column = register_space(database, replace(FAKE_SPACE, dimensions=dimensions), new_space=True)
    assert column.storage == kind
    assert column in list_spaces(database)
    assert column_type(execute, column.name) == f"{kind}({dimensions})"
    embed(database, column, 12)
    build_vector_index(database, column, CONFIG)
    assert describe_index(database, column.index).operator_class == f"{kind}_cosine_ops"
    assert describe_index(database, column.index).matches(column, CONFIG)
    if not first:
        assert column_type(execute, "embedding") == "vector(768)"


def test_more_dimensions_than_an_index_can_have_are_refused(database, execute):
    with pytest.raises(ConfigurationError, match="makes vectors of 4,001 dimensions, and an index can have at most 4,"):
        register_space(database, replace(FAKE_SPACE, dimensions=4001))
    assert list_spaces(database) == []
    assert column_type(execute, "embedding") == "vector(768)"


def test_what_is_written_is_read_and_measured(database):
    column = register_space(database, LONG)
    vectors = embed(database, column, 60)
    halves = vectors.astype(np.float16).astype(np.float32)
    read = sample_vectors(database, column, 60)
    for row in read:
        np.testing.assert_array_equal(row.vector, vector_of(row.text, 3072).astype(np.float16))
    np.testing.assert_array_equal(np.sort(sample_sources(database, column, 60)[0], axis=0), np.sort(halves, axis=0))
    statistics = measure_vectors(database, column)
    assert (statistics.count, statistics.sampled, statistics.faulty) == (60, 60, 0)
    assert statistics.norm_min == pytest.approx(1, abs=1e-4)
    build_vector_index(database, column, CONFIG)
    measured = measure_recall(database, column, CONFIG)
    assert (measured.recall, measured.duplicates) == (1.0, 0.0)
    assert audit_space(database, column, FakeProvider(space=LONG)).mismatched == ()


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean", "manhattan"])
def test_searches_use_the_index(database, execute, similarity):
    column = register_space(database, LONG, similarity=similarity)
    embed(database, column, 90)
    build_vector_index(database, column, CONFIG)
    execute("ANALYZE knowledge_base")
    recorder = PlanRecorder(database)
    [(name,)] = execute("SELECT current_database()")
    execute(f'ALTER DATABASE "{name}" SET enable_seqscan = off')
    database.close()
    for text in ("text 3", "text 71"):
        rows = nearest_chunks(recorder, column, vector_of(text, 3072), k=1, where=(), index=CONFIG)
        assert [row[0] for row in rows] == [hash_of(text)]
        assert f"Index Scan using {column.index}" in recorder.plan
    assert planner_uses_index(database, column, CONFIG)


@pytest.mark.parametrize(
    ("value", "code"),
    [(65_504, None), (-65_504, None), (65_520, "too_large"), (-1e9, "too_large"), (1e-9, "zero_vector")],
)
def test_numbers_that_half_precision_does_not_have_are_bad_vectors(database, value, code):
    space = replace(LONG, normalized=False)
    vectors = np.zeros((2, 3072), dtype=np.float32)
    vectors[:, 0] = [1, value]
    assert space.find_invalid(vectors) == ({1: code} if code else {})
    if code is None:
        column = register_space(database, space)
        insert_chunks(database, ["one", "two"])
        assert len(write_vectors(database, column, pending_chunks(database, column), vectors).written) == 2


@pytest.fixture
def by_api(monkeypatch) -> Iterator[Settings]:
    with ApiServer() as server:
        yield configure(monkeypatch, server, openai_model="text-embedding-3-large", openai_dimensions=3072)


def test_from_an_api_to_the_answer(database, by_api):
    texts = sentences(120)
    insert_chunks(database, texts)
    settings = by_api.model_copy(update={"database": get_settings().database})
    assert EmbeddingGenerator(settings, database=database).generate_embeddings_batch().embedded == 120
    column = select_for_run(settings, database).column
    assert (column.storage, column.space.dimensions) == ("halfvec", 3072)
    [report] = build_indexes(database, column, settings.index)
    assert report.state.operator_class == "halfvec_cosine_ops"
    assert report.measurement.search.recall == 1.0
    assert report.measurement.bloat == pytest.approx(1, abs=0.05)
    best, *_ = search(texts[17], settings=settings, database=database)
    assert (best.text, best.score) == (texts[17], pytest.approx(1, abs=1e-3))
    verdicts = judge_everything(database, column, settings)
    assert {verdict.name for verdict in verdicts if not verdict.passed} <= {"throughput"}


@pytest.mark.parametrize(
    ("declared", "stored", "dimensions", "outcome"),
    [
        ("halfvec(8)", True, 8, "halfvec(8)"),
        ("halfvec(8)", False, 8, "halfvec(8)"),
        ("halfvec(8)", False, 12, "vector(12)"),
        ("vector(8)", False, 3072, "halfvec(3072)"),
    ],
)
def test_columns_that_are_there(database, execute, declared, stored, dimensions, outcome):
    declare(execute, declared, dimensions if stored else None)
    column = register_space(database, replace(FAKE_SPACE, dimensions=dimensions), claim_vectors=True)
    assert column.storage == outcome.partition("(")[0]
    insert_chunks(database, ["one"])
    written = pending_chunks(database, column)[-1:]
    assert len(write_vectors(database, column, written, unit_vectors(1, dimensions)).written) == 1
    assert column_type(execute, "embedding") == outcome


@pytest.mark.parametrize(
    ("declared", "stored", "complaint"),
    [
        ("halfvec", 3072, "does not say how long its vectors are"),
    ],
)
def test_a_filled_column_that_no_index_can_have_is_left_untouched(database, execute, declared, stored, complaint):
    declare(execute, declared, stored)
    with pytest.raises(ConfigurationError, match=complaint) as refused:
        register_space(database, LONG, claim_vectors=True)
    assert list_spaces(database) == []
    assert column_type(execute, "embedding") == declared
    remedy = str(refused.value).partition("run ")[2].partition(", or")[0]
    execute(remedy)
    assert register_space(database, LONG, claim_vectors=True).storage == "halfvec"
    assert execute("SELECT count(embedding) FROM knowledge_base") == [(1,)]


def declare(execute, declared: str, stored: int | None) -> None:
    """Column ``embedding`` of this type, with a vector of so many dimensions."""
    execute(f"ALTER TABLE knowledge_base ALTER COLUMN embedding TYPE {declared}")
    vector = str([1, *[0] * (stored - 1)]) if stored else None
    kind = declared.partition("(")[0]
    execute(f"INSERT INTO knowledge_base (chunk_hash, chunk_text, embedding) VALUES ('aa', 'text', %s::{kind})", vector)
