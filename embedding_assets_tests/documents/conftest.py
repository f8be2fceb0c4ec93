"""Fixtures for documents that are rows: a splitter for short chunks, somebody's table."""

import psycopg
import pytest

from embedding_assets.config import Settings
from embedding_assets.documents.loading import configured_splitter
from embedding_assets.documents.splitting import Splitter
from embedding_assets.postgres.connection import Database
from embedding_assets_tests.support.loading import Loader


@pytest.fixture
def splitter(settings: Settings, database: Database) -> Splitter:
    return configured_splitter(settings.with_embedding(chunk_tokens=32), database)


@pytest.fixture
def load(settings: Settings, database: Database, splitter: Splitter) -> Loader:
    """Loads files and folders into this test's table."""
    return Loader(settings, database, splitter)


@pytest.fixture
def articles(beside: psycopg.Connection) -> psycopg.Connection:
    """Somebody's table of three rows, and their connection."""
    beside.execute("CREATE SCHEMA shop")
    beside.execute("CREATE TABLE shop.articles (id bigint PRIMARY KEY, title text, body text, lang text, views int)")
    beside.execute("INSERT INTO shop.articles VALUES (1, 'One', 'alpha', 'en', 0), (2, 'Two', 'beta', 'de', 0)")
    beside.execute("INSERT INTO shop.articles VALUES (3, NULL, 'gamma', 'en', 0)")
    return beside
