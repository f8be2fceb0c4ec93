"""Searches rank by what a model was trained for, from its files to the operator of the query."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embedding_assets import EmbeddingGenerator, search
from embedding_assets.config import DatabaseConfig, IndexConfig, Settings
from embedding_assets.health.audit import audit_space
from embedding_assets.health.judge import judge_embeddings, judge_index
from embedding_assets.postgres.catalog import describe_index
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.index.build import build_vector_index
from embedding_assets.postgres.index.lifecycle import build_indexes
from embedding_assets.postgres.index.recall import planner_uses_index
from embedding_assets.postgres.schema import migrate
from embedding_assets.postgres.spaces import list_spaces, register_space
from embedding_assets.providers.base import embed_checked
from embedding_assets.providers.fallback import fallback_settings
from embedding_assets.providers.space_selection import select_space
from embedding_assets_tests.support.earlier import make_schema, register
from embedding_assets_tests.support.fakes import insert_chunks
from embedding_assets_tests.support.selecting import select_unasked
from embedding_assets_tests.support.tables import SMALL_SPACE, insert_vectors, run_sql, unit_vectors
from embedding_assets_tests.support.tiny_model import DIMENSIONS, save_tiny_model

Configure = Callable[..., Settings]

TEXTS = ["a", "bb b", "quick brown foxes", "!", "x y z " * 8, "lazy dogs sleep", "0 1 2", "fish"] * 4


@pytest.fixture(scope="session")
def dotted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Like multi-qa-mpnet-base-dot-v1: compared by inner product, and not normalized."""
    return save_tiny_model(tmp_path_factory.mktemp("models") / "dotted", normalize=False, similarity="dot")


def test_a_model_of_inner_products(dotted: Path, configure: Configure, database: Database):
    settings = configure(MODEL_NAME=dotted, DIMENSIONS=DIMENSIONS)
    texts = [f"{text} {number}" for number, text in enumerate(TEXTS)]
    insert_chunks(database, texts)
    EmbeddingGenerator(settings, database=database).generate_embeddings_batch()
    selection = select_unasked(settings, database)
    column = selection.column
    assert list_spaces(database) == [column]
    assert (column.similarity, column.space.normalized) == ("dot", False)
    [report] = build_indexes(database, column, settings.index)
    assert report.state.operator_class == "vector_ip_ops"
    assert report.measurement.search.recall == 1.0

    provider = selection.open_provider()
    batches = list(embed_checked(provider, texts))
    order = np.argsort(np.concatenate([batch.indices for batch in batches]))
    vectors = np.concatenate([batch.vectors for batch in batches])[order]
    [asked] = embed_checked(provider, ["foxes"], query=True)
    products = vectors @ asked.vectors[0]
    cosines = products / np.linalg.norm(vectors, axis=1)
    best = np.argsort(-products)[:5]
    assert list(best) != list(np.argsort(-cosines)[:5]), "or this would show nothing"
    results = search("foxes", mode="vector", settings=settings, database=database)
    assert [result.text for result in results] == [texts[row] for row in best]
    assert [result.score for result in results] == pytest.approx(products[best], rel=1e-4)

    verdicts = [*judge_embeddings(database, column, settings), *judge_index(database, column, settings)]
    assert {verdict.name for verdict in verdicts if not verdict.passed} <= {"throughput"}


def test_lengths_belong_to_the_vectors_of_such_a_model(dotted: Path, configure: Configure, database: Database):
    settings = configure(MODEL_NAME=dotted, DIMENSIONS=DIMENSIONS)
    insert_chunks(database, ["one", "two", "three"])
    EmbeddingGenerator(settings, database=database).generate_embeddings_batch()
    selection = select_unasked(settings, database)
    provider = selection.open_provider()
    assert audit_space(database, selection.column, provider).mismatched == ()
    database.run(lambda c: c.execute("UPDATE knowledge_base SET embedding = l2_normalize(embedding)"))
    assert len(audit_space(database, selection.column, provider).mismatched) == 3
    assert audit_space(database, replace(selection.column, similarity="cosine"), provider).mismatched == ()


def test_the_planner_takes_the_index_of_inner_products(database: Database):
    column = register_space(database, SMALL_SPACE, similarity="dot")
    insert_vectors(database, column, unit_vectors(5000) * np.linspace(0.5, 2, 5000, dtype=np.float32)[:, None])
    config = IndexConfig()
    build_vector_index(database, column, config)
    assert describe_index(database, column.index).matches(column, config)
    assert planner_uses_index(database, column, config)


def test_a_setting_comes_first_and_stays_with_the_space(dotted: Path, configure: Configure, database: Database):
    options = {"MODEL_NAME": dotted, "DIMENSIONS": DIMENSIONS}
    assert select_unasked(configure(**options, SIMILARITY="euclidean"), database).column.similarity == "euclidean"
    assert select_unasked(configure(**options), database).column.similarity == "euclidean"
    changed = select_unasked(configure(**options, SIMILARITY="dot"), database).column
    assert changed.similarity == "dot"
    assert list_spaces(database) == [changed]


def test_a_space_that_ranks_otherwise_is_left_as_it_is_with_a_warning(
    dotted: Path, configure: Configure, database: Database, caplog: pytest.LogCaptureFixture
):
    options = {"MODEL_NAME": dotted, "DIMENSIONS": DIMENSIONS}
    column = select_unasked(configure(**options), database).column
    database.run(lambda c: c.execute("UPDATE embedding_spaces SET similarity = 'cosine'"))
    assert select_unasked(configure(**options), database).column == replace(column, similarity="cosine")
    [warning] = [record for record in caplog.records if "EMBEDDING_SIMILARITY" in record.getMessage()]
    assert "rank by cosine, but its model was trained for dot; set EMBEDDING_SIMILARITY=dot" in warning.getMessage()
    caplog.clear()
    select_unasked(configure(**options, SIMILARITY="cosine"), database)
    assert not caplog.records


def test_the_setting_is_not_the_fallbacks(dotted: Path, configure: Configure, database: Database):
    settings = configure(
        PROVIDER="openai", OPENAI_API_KEY="k", FALLBACK="local", MODEL_NAME=dotted, DIMENSIONS=DIMENSIONS,
        SIMILARITY="manhattan",
    )  # fmt: skip
    primary = select_unasked(settings, database).column
    assert primary.similarity == "manhattan"
    substitute = fallback_settings(settings, primary.space)
    assert substitute is not None
    fallback = select_unasked(substitute, database).column
    assert fallback.similarity == "dot"
    assert select_space(settings, fallback, database).column.similarity == "dot"


@pytest.mark.parametrize(
    ("operator_class", "similarity"),
    [("vector_cosine_ops", "cosine"), ("vector_ip_ops", "dot"), ("vector_l2_ops", "euclidean"), (None, "cosine")],
)
def test_spaces_of_the_version_before_keep_what_their_index_serves(
    operator_class: str | None, similarity: str, empty_url: str, monkeypatch: pytest.MonkeyPatch
):
    make_schema(empty_url, "0006", monkeypatch)
    column = register(empty_url, SMALL_SPACE)
    if operator_class:
        run_sql(empty_url, f"CREATE INDEX {column.index} ON knowledge_base USING hnsw (embedding {operator_class})")
    with Database(empty_url, DatabaseConfig()) as database:
        assert migrate(database)
        assert list_spaces(database) == [replace(column, similarity=similarity)]
