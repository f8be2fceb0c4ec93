"""Whose tokenizer counts where an API embeds."""

from collections.abc import Callable

import pytest

from embedding_assets.config import Settings
from embedding_assets.encoder.demo_model import NAME as DEMO_MODEL
from embedding_assets.errors import ModelUnavailableError
from embedding_assets.postgres.connection import Database
from embedding_assets.providers import space_selection
from embedding_assets.providers.splitting_model import model_for_splitting
from embedding_assets.spaces import SpaceColumn
from embedding_assets_tests.support.selecting import select_unasked

Configure = Callable[..., Settings]


def test_documents_for_an_api_are_measured_by_the_table_s_local_model(
    configure: Configure, database: Database, local: SpaceColumn
):
    select_unasked(configure(PROVIDER="openai"), database)
    settings, files = model_for_splitting(configure(PROVIDER="openai"), database)
    assert (files.name, settings.embedding.max_seq_length) == (DEMO_MODEL, local.space.max_tokens)


def test_documents_for_an_api_are_measured_by_the_demo_model_at_need(configure: Configure, database: Database):
    _, files = model_for_splitting(configure(PROVIDER="openai"), database)
    assert files.name == DEMO_MODEL, "the default model is neither cached nor reachable"
    with pytest.raises(ModelUnavailableError, match="unknown/model"):
        model_for_splitting(configure(PROVIDER="openai", MODEL_NAME="unknown/model"), database)


def test_where_there_is_not_even_the_demo_model_the_configured_one_is_named(
    configure: Configure, database: Database, monkeypatch: pytest.MonkeyPatch
):
    locate = space_selection.locate_model

    def without_demo(name: str, *arguments: object, **named: object) -> object:
        if name == DEMO_MODEL:
            raise ModelUnavailableError("the demo model is not installed")
        return locate(name, *arguments, **named)

    monkeypatch.setattr(space_selection, "locate_model", without_demo)
    with pytest.raises(ModelUnavailableError, match="all-mpnet-base-v2 is neither cached"):
        model_for_splitting(configure(PROVIDER="openai"), database)
