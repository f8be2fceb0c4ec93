"""Several tables at once: of one database, of two, and of two code locations of one instance. None knows another."""

import psycopg
import pytest
from dagster import AssetKey, DagsterRunStatus

from embedding_assets.config import get_settings
from embedding_assets.postgres.bootstrap import open_database
from embedding_assets_tests.support.code_server import code_servers
from embedding_assets_tests.support.fakes import insert_chunks
from embedding_assets_tests.support.generator_runs import texts
from embedding_assets_tests.support.shop import BIGINT, UUID, fill
from embedding_assets_tests.support.tiny_model import DIMENSIONS, save_tiny_model

TWO_TABLES = """
import dagster as dg
from embedding_assets import build_embedding_definitions

defs = dg.Definitions.merge(
    build_embedding_definitions("notes", text="body", adopt=True, key_prefix="first"),
    build_embedding_definitions("documents", text="content", adopt=True, key_prefix="second"),
)
"""
TWO_DATABASES = """
import dagster as dg
from embedding_assets import build_embedding_definitions

defs = dg.Definitions.merge(
    build_embedding_definitions(database_url=dg.EnvVar("FIRST_URL"), key_prefix="first"),
    build_embedding_definitions(database_url=dg.EnvVar("SECOND_URL"), key_prefix="second"),
)
"""
ONE_TABLE = """
import os

import dagster as dg
from embedding_assets import build_embedding_definitions

defs = build_embedding_definitions(database_url=dg.EnvVar("OWN_URL"), key_prefix=os.environ["OWN_PREFIX"])
"""


@pytest.fixture(autouse=True)
def tiny(tmp_path, monkeypatch):
    """A model that is loaded at once."""
    monkeypatch.setenv("EMBEDDING_MODEL_NAME", str(save_tiny_model(tmp_path / "tiny")))
    monkeypatch.setenv("EMBEDDING_DIMENSIONS", str(DIMENSIONS))


@pytest.fixture
def urls(database_url, empty_url, monkeypatch):
    """Two databases, with 20 and 30 chunks."""
    for url, count in ((database_url, 20), (empty_url, 30)):
        with monkeypatch.context() as patch:
            patch.setenv("EMBEDDING_DATABASE_URL", url)
            with open_database(get_settings()) as database:
                insert_chunks(database, texts(count))
    return database_url, empty_url


def embedded(url, table="knowledge_base"):
    with psycopg.connect(url) as connection:
        return connection.execute(f"SELECT count(embedding), count(*) FROM {table}").fetchone()


def committed(project, run):
    return [line for line in project.said(run) if line.startswith("committed")]


def test_two_tables_of_one_database(settings, database_url, beside, tmp_path):
    fill(beside, BIGINT, 20)
    fill(beside, UUID, 30)
    with code_servers(tmp_path / "project", {"theirs": TWO_TABLES}) as project:
        runs = [project.launch(f"{prefix}__embed_chunks") for prefix in ("first", "second")]
        assert [project.end_of(run) for run in runs] == [DagsterRunStatus.SUCCESS] * 2
        assert embedded(database_url, "notes") == (20, 20)
        assert embedded(database_url, "documents") == (30, 30)
        assert [committed(project, run) for run in runs] == [["committed 20 vectors"], ["committed 30 vectors"]]
        for prefix, rows in (("first", 20), ("second", 30)):
            event = project.instance.get_latest_materialization_event(AssetKey([prefix, "chunk_embeddings"]))
            assert event.asset_materialization.metadata["dagster/row_count"].value == rows
            assert project.tick(f"{prefix}__new_chunks_sensor") == "no chunk is due"

        beside.execute("INSERT INTO notes (id, body) VALUES (100, 'one more')")
        [asked] = project.tick("first__new_chunks_sensor")
        assert asked["dagster/asset_partition_range_start"] in "0123456789abcdef"
        assert project.tick("second__new_chunks_sensor") == "no chunk is due"
    schemas = beside.execute(
        "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, 'embedding_assets_') ORDER BY 1"
    ).fetchall()
    assert schemas == [("embedding_assets_documents",), ("embedding_assets_notes",)]


def test_two_databases(urls, tmp_path, monkeypatch):
    monkeypatch.setenv("FIRST_URL", urls[0])
    monkeypatch.setenv("SECOND_URL", urls[1])
    with code_servers(tmp_path / "project", {"theirs": TWO_DATABASES}) as project:
        runs = [project.launch(f"{prefix}__embed_chunks") for prefix in ("first", "second")]
        assert [project.end_of(run) for run in runs] == [DagsterRunStatus.SUCCESS] * 2
        assert [committed(project, run) for run in runs] == [["committed 20 vectors"], ["committed 30 vectors"]]
    assert [embedded(url) for url in urls] == [(20, 20), (30, 30)]


def test_two_code_locations_of_one_instance(urls, tmp_path):
    variables = {
        name: {"OWN_URL": url, "OWN_PREFIX": prefix}
        for name, prefix, url in zip(("one", "two"), ("first", "second"), urls, strict=True)
    }
    with code_servers(tmp_path / "project", {"one": ONE_TABLE, "two": ONE_TABLE}, variables) as project:
        run = project.launch("first__embed_chunks", location="one")
        assert project.end_of(run) is DagsterRunStatus.SUCCESS
        assert [embedded(url) for url in urls] == [(20, 20), (0, 30)]
        assert project.tick("first__new_chunks_sensor", "one") == "no chunk is due"
        # Neither takes the run of the other for its own.
        [asked] = project.tick("second__new_chunks_sensor", "two")
        assert asked["dagster/asset_partition_range_start"] == "0"
        run = project.launch("second__embed_chunks", location="two")
        assert project.tick("first__new_chunks_sensor", "one") == "no chunk is due"
        assert project.end_of(run) is DagsterRunStatus.SUCCESS
    assert [embedded(url) for url in urls] == [(20, 20), (30, 30)]
