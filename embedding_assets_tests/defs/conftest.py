"""Fixtures of the Dagster layer."""

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
import yaml
from dagster import DagsterInstance

from embedding_assets import EmbeddingGenerator
from embedding_assets.config import Settings
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.index.build import build_vector_index
from embedding_assets.providers.space_selection import select_for_run
from embedding_assets.spaces import SpaceColumn
from embedding_assets_tests.support.buckets import bucket, moto, s3
from embedding_assets_tests.support.fakes import insert_chunks
from embedding_assets_tests.support.generator_runs import texts
from embedding_assets_tests.support.tiny_model import DIMENSIONS, save_tiny_model
from embedding_assets_tests.support.webhook import Webhook
from fake_api.server import ApiServer

__all__ = ["bucket", "moto", "s3"]


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    """An instance that forgets, with the logs of the one that is shipped."""
    shipped = yaml.safe_load(files("embedding_assets.defs").joinpath("dagster.yaml").read_text())
    with DagsterInstance.ephemeral(settings={"python_logs": shipped["python_logs"]}) as instance:
        yield instance


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    """The one that alerts are posted to."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Webhook() as webhook:
        monkeypatch.setenv("EMBEDDING_ALERT_WEBHOOK_URL", webhook.url)
        yield webhook


@pytest.fixture
def filled(settings: Settings, database: Database) -> SpaceColumn:
    """Thirty chunks with vectors and an index, as a run leaves them; the space's record."""
    insert_chunks(database, texts(30))
    EmbeddingGenerator(settings, database=database).generate_embeddings_batch()
    column = select_for_run(settings, database).column
    build_vector_index(database, column, settings.index)
    return column


@pytest.fixture
def table(settings: Settings, database: Database) -> Database:
    """The database, in which a space is registered."""
    select_for_run(settings, database)
    return database


@pytest.fixture
def tiny_model(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that is loaded at once."""
    monkeypatch.setenv("EMBEDDING_MODEL_NAME", str(save_tiny_model(tmp_path / "tiny")))
    monkeypatch.setenv("EMBEDDING_DIMENSIONS", str(DIMENSIONS))


@pytest.fixture
def slow_api(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    """An API that takes its time for each text, so that a load lasts for several ticks."""
    with ApiServer(latency_seconds=0.3) as server:
        for name, value in {
            "PROVIDER": "openai", "OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": server.api_key,
            "OPENAI_DIMENSIONS": "8", "OPENAI_MAX_INPUTS": "1", "OPENAI_CONCURRENCY": "1",
        }.items():  # fmt: skip
            monkeypatch.setenv(f"EMBEDDING_{name}", value)
        yield server
