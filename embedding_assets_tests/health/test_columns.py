"""The check of an adopted table's columns, on real tables that somebody changes."""

import dagster
import pytest
from dagster import AssetKey, DagsterInstance

from embedding_assets.config import get_settings
from embedding_assets.defs.factory import build_embedding_definitions
from embedding_assets.health.columns import columns_unchanged, find_column_changes
from embedding_assets.postgres.adopting import adopt
from embedding_assets.postgres.bootstrap import open_database
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.spaces import list_spaces
from embedding_assets.postgres.table_columns import describe_columns
from embedding_assets.providers.space_selection import select_for_run


@pytest.fixture
def articles(database_url, beside, monkeypatch):
    """A table of somebody's, adopted, with a space."""
    monkeypatch.setenv("EMBEDDING_DATABASE_URL", database_url)
    monkeypatch.setenv("EMBEDDING_TABLE", "articles")
    monkeypatch.setenv("EMBEDDING_TABLE_TEXT", "{title}: {body}")
    monkeypatch.setenv("EMBEDDING_TABLE_METADATA", "lang")
    beside.execute("CREATE TABLE articles (id int PRIMARY KEY, title text, body text, lang varchar(2))")
    beside.execute("INSERT INTO articles VALUES (1, 'Keys', 'Rotate them.', 'en')")
    settings = get_settings()
    with Database(database_url, settings.database, settings.source) as database:
        adopt(database, settings.source)
    with open_database(settings) as database:
        select_for_run(settings, database)
        yield database


def verdict(database):
    changes = find_column_changes(database.table, describe_columns(database), list_spaces(database))
    return columns_unchanged(database.table, changes)


def test_nothing_has_changed(articles, beside):
    beside.execute("ALTER TABLE articles ADD COLUMN seen timestamptz, ALTER COLUMN lang TYPE varchar(5)")
    assert (verdict(articles).passed, verdict(articles).numbers) == (True, {"gone": 0, "changed": 0})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("ALTER COLUMN id TYPE bigint", "column id, part of the key, was integer and is bigint"),
        ("ALTER COLUMN lang TYPE text", "column lang, shown by searches, was character varying and is text"),
        ("DROP COLUMN lang", "column lang, shown by searches, is gone"),
        ("DROP COLUMN embedding CASCADE", "column embedding, with vectors, is gone"),
        ("RENAME COLUMN body TO content", "column body, of which the text is made, is gone"),
    ],
)
def test_a_change_is_said_in_words(articles, beside, change, words):
    beside.execute(f"ALTER TABLE articles {change}")
    found = verdict(articles)
    assert (found.passed, found.severity) == (False, "warning")
    assert found.description.startswith(f"public.articles: {words}. Give the table those columns back")


@pytest.mark.filterwarnings("ignore::dagster.BetaWarning")
def test_dagster_warns_and_a_run_says_it_before_a_statement_fails(articles, beside):
    defs = build_embedding_definitions()
    [check] = [one for one in defs.asset_checks if AssetKey("chunks_pending") in {k.asset_key for k in one.check_keys}]

    def run(selection, **options):
        with DagsterInstance.ephemeral() as instance:
            return dagster.materialize(
                [*defs.assets, *defs.asset_checks], instance=instance, resources=defs.resources, selection=selection,
                **options,
            )  # fmt: skip

    [passed] = run(dagster.AssetSelection.checks(check)).get_asset_check_evaluations()
    assert passed.passed
    beside.execute("ALTER TABLE articles RENAME COLUMN body TO content")
    [failed] = run(dagster.AssetSelection.checks(check)).get_asset_check_evaluations()
    assert (failed.check_name, failed.passed) == ("columns_unchanged", False)
    result = run(dagster.AssetSelection.assets("chunks_pending"), raise_on_error=False)
    [failure] = [event for event in result.all_events if event.is_step_failure]
    assert "column body, of which the text is made, is gone" in failure.step_failure_data.error.to_string()
