"""Vectors computed in int8 lie in a space of their own: found, followed, and not mixed with others."""

from collections.abc import Callable
from pathlib import Path

import pytest

from embedding_assets.config import Settings
from embedding_assets.encoder.demo_model import NAME as DEMO_MODEL
from embedding_assets.encoder.demo_model import REVISION as DEMO_REVISION
from embedding_assets.encoder.shared import release_models
from embedding_assets.errors import ConfigurationError, SpaceMismatchError
from embedding_assets.pipeline.generator import EmbeddingGenerator
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.spaces import list_spaces
from embedding_assets.providers.fallback import fallback_settings
from embedding_assets.providers.space_selection import (
    find_for_run,
    follow_table,
    select_for_run,
    select_for_search,
    select_space,
)
from embedding_assets.retrieval import search
from embedding_assets_tests.support.fakes import insert_chunks
from embedding_assets_tests.support.rounding import let_int8_pay, needs_int8
from embedding_assets_tests.support.selecting import select_unasked
from embedding_assets_tests.support.tiny_model import DIMENSIONS

Configure = Callable[..., Settings]


def test_a_table_keeps_it_when_nothing_is_set(configure: Configure, database: Database):
    column = select_unasked(configure(MODEL_NAME=DEMO_MODEL, PRECISION="int8"), database).column
    assert column.space.revision == f"{DEMO_REVISION}+int8"
    unset = configure()
    assert follow_table(unset, [column]).embedding.precision == "int8"
    assert select_unasked(unset, database).column == column
    assert find_for_run(unset, database)[1] == column
    assert select_for_search(configure(PRECISION="bfloat16"), database).open_provider().space == column.space


@pytest.mark.parametrize(("first", "second"), [("int8", "float32"), ("float32", "int8"), ("int8", "auto")])
def test_the_other_is_a_further_space(first: str, second: str, configure: Configure, database: Database):
    of_first = configure(MODEL_NAME=DEMO_MODEL, PRECISION=first)
    column = select_unasked(of_first, database).column
    with pytest.raises(SpaceMismatchError, match=r"revision \(EMBEDDING_PRECISION\) is ") as caught:
        select_unasked(configure(PRECISION=second), database)
    way = "set EMBEDDING_PRECISION=int8 to go on" if first == "int8" else "unset these variables to go on"
    assert way in str(caught.value)
    assert find_for_run(configure(PRECISION=second), database)[1] is None

    other = select_unasked(configure(PRECISION=second, NEW_SPACE="true"), database).column
    assert other.space.differences(column.space) == ["revision"]
    assert other.name != column.name
    assert select_unasked(configure(PRECISION=second), database).column == other
    assert find_for_run(configure(PRECISION=second), database)[1] == other
    assert select_unasked(configure(), database).column == column, "the serving one"
    for one in (column, other):
        for settings in (of_first, configure(PRECISION=second), configure()):
            assert select_space(settings, one, database).open_provider().space == one.space


def test_a_named_model_does_not_bring_it(configure: Configure, database: Database):
    select_unasked(configure(MODEL_NAME=DEMO_MODEL, PRECISION="int8"), database)
    with pytest.raises(SpaceMismatchError, match="set EMBEDDING_PRECISION=int8 to go on with the table's model"):
        select_unasked(configure(MODEL_NAME=DEMO_MODEL), database)


def test_an_api_s_table_leaves_it_to_the_fallback(configure: Configure, database: Database):
    select_unasked(configure(PROVIDER="openai"), database)
    followed = follow_table(configure(FALLBACK="local", PRECISION="int8"), list_spaces(database))
    assert followed.embedding.provider == "openai"
    fallback = fallback_settings(followed, list_spaces(database)[0].space)
    assert fallback is not None
    assert fallback.embedding.precision == "int8"


def test_vectors_of_an_adopted_table_are_not_claimed(configure: Configure, database: Database):
    insert_chunks(database, ["text"])
    database.run(
        lambda c: c.execute("UPDATE knowledge_base SET embedding = array_prepend(1, array_fill(0, ARRAY[767]))::vector")
    )
    named = {"MODEL_NAME": DEMO_MODEL, "PRECISION": "int8"}
    with pytest.raises(ConfigurationError, match="none are taken for ones computed in int8; unset EMBEDDING_PRECISION"):
        select_unasked(configure(**named), database)
    column = select_unasked(configure(**named, NEW_SPACE="true"), database).column
    assert column.name != "embedding"


def test_where_it_cannot_be_computed_nothing_is_left_behind(
    configure: Configure, database: Database, tiny: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("embedding_assets.encoder.int8.products_are_exact", lambda: False)
    release_models()
    with pytest.raises(ConfigurationError, match="would make wrong vectors"):
        select_for_run(configure(MODEL_NAME=tiny, DIMENSIONS=DIMENSIONS, PRECISION="int8"), database)
    assert list_spaces(database) == []


@needs_int8
def test_a_folder_s_model(configure: Configure, database: Database, tiny: Path, monkeypatch: pytest.MonkeyPatch):
    let_int8_pay(monkeypatch)
    insert_chunks(database, ["alpha", "beta", "gamma"])
    rounded = configure(MODEL_NAME=tiny, DIMENSIONS=DIMENSIONS, PRECISION="int8")
    stats = EmbeddingGenerator(rounded, database=database).generate_embeddings_batch()
    assert (stats.embedded, stats.precision) == (3, "int8")
    [found] = search("alpha", settings=configure(MODEL_NAME=tiny, DIMENSIONS=DIMENSIONS), database=database, k=1)
    assert found.text == "alpha"
    assert "-int8-" in found.space
    assert found.score > 0.98
