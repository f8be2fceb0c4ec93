"""Prompts of documents and questions: set, kept with the space, and missed where a family needs them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from embedding_assets.config import Settings
from embedding_assets.encoder.demo_model import NAME as DEMO_MODEL
from embedding_assets.errors import SpaceMismatchError
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.spaces import list_spaces
from embedding_assets.providers.fallback import fallback_settings, find_fallback
from embedding_assets.providers.prompts import known_prompts, warn_of_missing_prompts
from embedding_assets.providers.space_selection import (
    create_provider,
    find_for_run,
    select_for_search,
    select_space,
)
from embedding_assets_tests.support.selecting import select_unasked
from embedding_assets_tests.support.tiny_model import DIMENSIONS, save_tiny_model

Configure = Callable[..., Settings]
PROMPTS = {"DOCUMENT_PROMPT": "text: ", "QUERY_PROMPT": "find: "}


def vectors_of(settings: Settings, text: str) -> tuple[np.ndarray, np.ndarray]:
    """As a document, and as a question."""
    provider = create_provider(settings)
    return tuple(next(iter(provider.embed([text], query=query))).vectors[0] for query in (False, True))


def test_prompts_that_are_set_do_what_the_library_does_with_its_own(configure: Configure, tmp_path: Path):
    folder = save_tiny_model(tmp_path / "tiny")
    reference = SentenceTransformer(str(folder), device="cpu")
    reference.max_seq_length = 64
    options = {"MODEL_NAME": folder, "DIMENSIONS": DIMENSIONS, "PRECISION": "float32"}
    document, question = vectors_of(configure(**options, **PROMPTS), "how")
    np.testing.assert_allclose(document, reference.encode("how", prompt="text: "), atol=1e-5)
    np.testing.assert_allclose(question, reference.encode("how", prompt="find: "), atol=1e-5)
    plain, asked = vectors_of(configure(**options), "how")
    np.testing.assert_allclose(plain, asked, atol=1e-6)
    assert abs(plain @ document) < 0.9999


def test_a_prompt_that_is_set_goes_before_the_models_own(configure: Configure, tmp_path: Path):
    folder = save_tiny_model(tmp_path / "tiny", prompts={"query": "q: ", "document": "d: "})
    options = {"MODEL_NAME": folder, "DIMENSIONS": DIMENSIONS}
    assert create_provider(configure(**options)).space.prompt == "d: "
    assert create_provider(configure(**options, **PROMPTS)).space.prompt == "text: "


@pytest.mark.parametrize("api", [False, True], ids=["local", "api"])
def test_the_space_keeps_its_prompts(api: bool, configure: Configure, database: Database):
    options = {"PROVIDER": "openai", "OPENAI_API_KEY": "k"} if api else {"MODEL_NAME": DEMO_MODEL}
    column = select_unasked(configure(**options, **PROMPTS), database).column
    assert (column.space.prompt, column.query_prompt) == ("text: ", "find: ")
    assert list_spaces(database) == [column]
    for select in (select_unasked, select_for_search):
        selection = select(configure(OPENAI_API_KEY="k"), database)
        assert selection.column == column
        assert selection.settings.embedding.query_prompt == "find: "
        assert selection.open_provider().space == column.space
    asked = select_for_search(configure(OPENAI_API_KEY="k", QUERY_PROMPT="ask: "), database)
    assert asked.settings.embedding.query_prompt == "ask: "
    assert find_for_run(configure(OPENAI_API_KEY="k"), database)[1] == column
    assert select_unasked(configure(OPENAI_API_KEY="k", QUERY_PROMPT="ask: "), database).column.query_prompt == "ask: "


def test_prompts_are_not_those_of_the_fallback(configure: Configure, database: Database):
    settings = configure(PROVIDER="openai", OPENAI_API_KEY="k", FALLBACK="local", MODEL_NAME=DEMO_MODEL, **PROMPTS)
    primary = select_unasked(settings, database).column
    substitute = fallback_settings(settings, primary.space)
    assert substitute is not None
    fallback = select_unasked(substitute, database)
    assert (fallback.column.space.prompt, fallback.column.query_prompt) == ("", None)
    assert fallback.settings.embedding.query_prompt is None
    assert find_fallback(settings, database) == fallback.column
    assert select_space(settings, fallback.column, database).settings.embedding.query_prompt is None
    assert settings.embedding.query_prompt == "find: "
    assert "document_prompt" in settings.embedding.model_fields_set


def test_another_document_prompt_is_another_space(configure: Configure, database: Database):
    select_unasked(configure(MODEL_NAME=DEMO_MODEL), database)
    changed = configure(MODEL_NAME=DEMO_MODEL, DOCUMENT_PROMPT="passage: ")
    with pytest.raises(SpaceMismatchError, match=r"prompt \(EMBEDDING_DOCUMENT_PROMPT\) is 'passage: ', the tab"):
        select_unasked(changed, database)


@pytest.mark.parametrize(
    ("model", "document"),
    [
        ("intfloat/e5-base-v2", "passage: "),
        ("intfloat/multilingual-e5-large", "passage: "),
        ("BAAI/bge-small-en-v1.5", ""),
        ("nomic-embed-text", "search_document: "),
        ("snowflake-arctic-embed:l", ""),
        ("Qwen/Qwen3-Embedding-0.6B", ""),
        ("embeddinggemma", "title: none | text: "),
    ],
)
def test_families_that_need_prompts_are_warned_about_once(model: str, document: str, caplog: pytest.LogCaptureFixture):
    warn_of_missing_prompts.cache_clear()
    warn_of_missing_prompts(model, "", "")
    warn_of_missing_prompts(model, "", "")
    [record] = caplog.records
    assert f"EMBEDDING_DOCUMENT_PROMPT={document!r}" in record.getMessage()
    caplog.clear()
    warn_of_missing_prompts(model, "", "query: ")
    assert not caplog.records


@pytest.mark.parametrize("model", ["sentence-transformers/all-mpnet-base-v2", "text-embedding-3-small", "BAAI/bge-m3"])
def test_others_are_not(model: str, caplog: pytest.LogCaptureFixture):
    warn_of_missing_prompts(model, "", "")
    assert not caplog.records


def test_every_known_prompt_once_those_of_documents_first():
    found = known_prompts()
    assert len(set(found)) == len(found)
    assert all(found)
    assert found.index("passage: ") < found.index("query: ")
