"""The fallback's settings and its space."""

from collections.abc import Callable

import pytest

from embedding_assets.config import Settings
from embedding_assets.encoder.demo_model import NAME as DEMO_MODEL
from embedding_assets.errors import ConfigurationError
from embedding_assets.postgres.connection import Database
from embedding_assets.providers.fallback import fallback_settings, find_fallback
from embedding_assets.providers.space_selection import find_for_run
from embedding_assets.spaces import SpaceColumn
from embedding_assets_tests.support.selecting import select_unasked

Configure = Callable[..., Settings]


def test_the_fallback_has_a_space_of_its_own(configure: Configure, database: Database):
    settings = configure(PROVIDER="openai", FALLBACK="local", MODEL_NAME=DEMO_MODEL)
    primary = select_unasked(settings, database).column
    fallback = fallback_settings(settings, primary.space)
    assert fallback is not None
    assert (fallback.embedding.provider, fallback.embedding.fallback) == ("local", None)
    assert find_for_run(fallback, database)[1] is None
    assert find_fallback(settings, database) is None
    column = select_unasked(fallback, database).column
    assert (column.space.model, column.serving) == (DEMO_MODEL, False)
    assert find_for_run(fallback, database)[1] == column
    assert select_unasked(settings, database).column == primary
    assert find_fallback(settings, database) == column
    assert fallback_settings(configure(), primary.space) is None
    assert find_fallback(configure(), database) is None


def test_the_fallback_follows_the_space_that_the_table_has_of_it(
    configure: Configure, database: Database, local: SpaceColumn
):
    settings = configure(PROVIDER="openai", FALLBACK="local")
    primary = select_unasked(settings, database).column
    fallback = fallback_settings(settings, primary.space)
    assert fallback is not None
    assert select_unasked(fallback, database).column == local


def test_a_provider_does_not_stand_in_for_itself(configure: Configure, database: Database, local: SpaceColumn):
    settings = configure(FALLBACK="local")
    with pytest.raises(ConfigurationError, match="cannot stand in for itself; set EMBEDDING_FALLBACK to another"):
        fallback_settings(settings, local.space)
