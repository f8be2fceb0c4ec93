"""Versions side by side: a newer schema says who may go on, and a search asks for no migration."""

import json

import psycopg
import pytest

from embedding_assets.config import Settings
from embedding_assets.errors import ConfigurationError
from embedding_assets.postgres import schema
from embedding_assets.postgres.bootstrap import open_database
from embedding_assets.postgres.connection import Database
from embedding_assets.retrieval import search
from embedding_assets_tests.support.fakes import FakeProvider, insert_chunks
from embedding_assets_tests.support.shop import BIGINT, SPACE, adopt_shop, embed, fill, opened


def make_newer(connection: psycopg.Connection, compatible: dict[str, str] | None, *, schema: str = "public") -> None:
    connection.execute(f"UPDATE {schema}.embedding_schema_version SET version_num = '0999'")
    comment = json.dumps(compatible) if compatible else ""
    connection.execute(f"COMMENT ON TABLE {schema}.embedding_schema_version IS '{comment}'")


def find(settings: Settings) -> list[str]:
    return [result.text for result in search("text", settings=settings, provider=FakeProvider(space=SPACE))]


@pytest.mark.parametrize(
    ("compatible", "searches", "embeds"),
    [
        ({"read": "0010", "write": "0010"}, True, True),
        ({"read": "0010", "write": "0999"}, True, False),
        ({"read": "0999", "write": "0999"}, False, False),
        (None, False, False),
    ],
)
def test_beside_a_newer_schema(
    settings: Settings,
    database: Database,
    beside: psycopg.Connection,
    compatible: dict[str, str] | None,
    searches: bool,
    embeds: bool,
):
    insert_chunks(database, ["text"])
    embed(settings, database)
    make_newer(beside, compatible)
    if searches:
        assert find(settings) == ["text"]
    else:
        with pytest.raises(ConfigurationError, match=r"has schema version 0999.*upgrade embedding-assets"):
            find(settings)
    if embeds:
        with open_database(settings) as again:
            insert_chunks(again, ["more"])
            assert embed(settings, again).embedded == 1
    else:
        with pytest.raises(ConfigurationError, match="has schema version 0999"), open_database(settings):
            pass


def test_what_is_kept_about_an_adopted_table_is_migrated_when_asked(
    settings: Settings, beside: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
):
    fill(beside, BIGINT, 3)
    adopted = adopt_shop(settings, BIGINT)
    with opened(adopted) as database:
        embed(adopted, database)
    upgraded = []
    monkeypatch.setattr(schema, "HEAD", "0011")
    monkeypatch.setattr(schema, "_upgrade", lambda *_: upgraded.append(True))
    assert len(find(adopted)) == 3
    with pytest.raises(ConfigurationError, match="has version 0010, and this package needs 0011; run"), opened(adopted):
        pass
    assert upgraded == []
    with Database(adopted.database.url.get_secret_value(), adopted.database, adopted.source) as database:
        assert schema.migrate(database, asked=True)
    assert upgraded == [True]


def test_a_search_asks_for_no_trigger(settings: Settings, beside: psycopg.Connection):
    fill(beside, BIGINT, 3)
    adopted = adopt_shop(settings, BIGINT)
    with opened(adopted) as database:
        embed(adopted, database)
    beside.execute("ALTER TABLE notes DISABLE TRIGGER zzz_embedding_assets_text_changed")
    assert len(find(adopted)) == 3
    refusal = pytest.raises(ConfigurationError, match=r"text_changed is disabled on public.notes.*adopt public.notes")
    with refusal, opened(adopted):
        pass
    adopt_shop(settings, BIGINT)
    with opened(adopted) as database:
        assert embed(adopted, database).embedded == 0
