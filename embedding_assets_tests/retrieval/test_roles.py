"""Searches with models whose questions and documents are embedded differently: only the right sides meet."""

import string
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize, Router, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling

from embedding_assets import embed_pending, search
from embedding_assets.config import Settings, get_settings
from embedding_assets.postgres.connection import Database
from embedding_assets_tests.support.fakes import insert_chunks
from embedding_assets_tests.support.tiny_model import DIMENSIONS, save_tiny_model

LETTERS = string.ascii_lowercase
TEXTS = ["hello world", "quick brown fox", "lazy dog", "vector index", "purple rain"]


def next_letters(text: str) -> str:
    return text.translate(str.maketrans(LETTERS, LETTERS[1:] + LETTERS[0]))


@pytest.fixture
def in_other_letters(tmp_path: Path) -> Path:
    """A router whose model of questions reads each letter as the one before it."""
    routes = {}
    for route in ("query", "document"):
        transformer = Transformer(str(save_tiny_model(tmp_path / route)))
        if route == "query":
            words = transformer.model.get_input_embeddings().weight
            vocabulary = transformer.tokenizer.get_vocab()
            with torch.no_grad():
                read = words.clone()
                for before, letter in zip(LETTERS, next_letters(LETTERS), strict=True):
                    for prefix in ("", "##"):
                        words[vocabulary[prefix + letter]] = read[vocabulary[prefix + before]]
        routes[route] = [transformer, Pooling(DIMENSIONS, "mean")]
    folder = tmp_path / "router"
    modules = [Router.for_query_document(routes["query"], routes["document"]), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder), create_model_card=False)
    return folder


@pytest.fixture
def configure(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settings]:
    def configure(model: Path, **variables: str) -> Settings:
        for name, value in {"MODEL_NAME": str(model), "DIMENSIONS": str(DIMENSIONS), **variables}.items():
            monkeypatch.setenv(f"EMBEDDING_{name}", value)
        return get_settings()

    return configure


def test_a_routers_questions_find_their_documents(
    in_other_letters: Path, configure: Callable[..., Settings], database: Database
):
    settings = configure(in_other_letters)
    insert_chunks(database, TEXTS)
    embed_pending(settings, database=database)
    for text in TEXTS:
        best, *others = search(next_letters(text), settings=settings, database=database)
        assert (best.text, best.score) == (text, pytest.approx(1, abs=1e-4))
        assert all(other.score < 0.999 for other in others)


def test_prompts_stand_before_questions_and_documents_alone(
    tmp_path: Path, configure: Callable[..., Settings], database: Database
):
    settings = configure(save_tiny_model(tmp_path / "tiny"), DOCUMENT_PROMPT="find the ", QUERY_PROMPT="find ")
    insert_chunks(database, TEXTS)
    embed_pending(settings, database=database)
    # With its own prompt a question says what a document says with its own.
    for text in TEXTS:
        best, *_ = search(f"the {text}", settings=settings, database=database)
        assert (best.text, best.score) == (text, pytest.approx(1, abs=1e-4))
