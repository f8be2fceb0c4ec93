"""A run whose space is dropped or renamed after it was chosen writes into no other space's column."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from embedding_assets import EmbeddingGenerator
from embedding_assets.config import Settings
from embedding_assets.errors import ConfigurationError
from embedding_assets.postgres.backlog import fetch_pending
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.space_changes import drop_space, rename_space
from embedding_assets.postgres.spaces import list_spaces, register_space
from embedding_assets.postgres.vectors import write_vectors
from embedding_assets.providers.base import EmbeddingProvider
from embedding_assets.providers.space_selection import Selection
from embedding_assets.spaces import SpaceColumn
from embedding_assets_tests.support.fakes import FAKE_SPACE, FakeProvider, insert_chunks, vector_of

OTHER = replace(FAKE_SPACE, revision="other")


def rename(database: Database, column: SpaceColumn) -> None:
    rename_space(database, column, replace(FAKE_SPACE, revision="moved"))


def drop(database: Database, column: SpaceColumn) -> None:
    drop_space(database, column)
    assert register_space(database, OTHER).name == column.name, "another space has its column now"


@pytest.mark.parametrize("change", [rename, drop])
def test_a_run_that_chose_it_before_ends(
    change: Callable[[Database, SpaceColumn], None],
    settings: Settings,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
):
    insert_chunks(database, ["one", "two"])
    column = register_space(database, FAKE_SPACE)

    def select(*_: object) -> Selection:
        change(database, column)
        return Selection(settings, column, database, FakeProvider())

    monkeypatch.setattr("embedding_assets.pipeline.generator.select_for_run", select)
    provider: EmbeddingProvider = FakeProvider()
    with pytest.raises(ConfigurationError, match="was dropped or renamed meanwhile; run again"):
        EmbeddingGenerator(settings, database=database, provider=provider).generate_embeddings_batch()


@pytest.mark.parametrize("change", [rename, drop])
def test_what_it_has_computed_is_not_written(
    change: Callable[[Database, SpaceColumn], None], settings: Settings, database: Database
):
    insert_chunks(database, ["one", "two"])
    column = register_space(database, FAKE_SPACE)
    chunks = fetch_pending(database, column, range(256), after="", limit=10)
    change(database, column)
    vectors = np.stack([vector_of(chunk.text) for chunk in chunks])
    assert write_vectors(database, column, chunks, vectors).written == set()
    assert len(list_spaces(database)) == 1
