"""Filling a further column leaves the indexes of the others alone: new versions of rows stay on their pages."""

from pathlib import Path

import psycopg
import pytest

from embedding_assets.config import IndexConfig
from embedding_assets.postgres.chunks import store_chunks
from embedding_assets.postgres.index.build import build_vector_index
from embedding_assets.postgres.server.embedded import start_embedded_server
from embedding_assets.postgres.spaces import register_space
from embedding_assets_tests.support.fakes import FAKE_SPACE, insert_chunks
from embedding_assets_tests.support.tables import chunks_of, embed_in_portions, table_counters


@pytest.fixture
def database_url(folder: Path) -> str:
    """A database that is alone on its server.

    A page is cleared of old versions for new ones up to the oldest transaction that was open when the session's
    snapshot was taken, in whichever database of the server that one writes: other tests' do, and CREATE DATABASE.
    """
    url = start_embedded_server(folder)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET autovacuum = off")
        connection.execute("SELECT pg_reload_conf()")
    return url


@pytest.mark.parametrize("loaded", [True, False], ids=["by us", "by somebody"])
def test_filling_a_further_space_leaves_the_first_one_s_index_alone(database, column, execute, loaded):
    if loaded:
        chunks, document = chunks_of("a.md", [f"{number} {'word ' * 80}" for number in range(600)])
        store_chunks(database, chunks, [document])
    else:
        insert_chunks(database, [f"{number} {'word ' * 80}" for number in range(600)])
    embed_in_portions(database, column)
    build_vector_index(database, column, IndexConfig())
    second = register_space(database, FAKE_SPACE, new_space=True)
    before = table_counters(database, execute, updates=600)
    embed_in_portions(database, second)
    after = table_counters(database, execute, updates=1200)
    assert after["n_tup_hot_upd"] - before["n_tup_hot_upd"] > 0.95 * 600
