"""Commands that only look, as a user types them: they make and change nothing."""

import pytest
from psycopg.conninfo import make_conninfo

from embedding_assets.postgres import schema
from embedding_assets_tests.support.fakes import insert_chunks
from embedding_assets_tests.support.tables import run_sql

TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
ON_NOTHING = [
    (["status"], 0, "Nothing is embedded yet. Next: embedding-assets load PATH"),
    (["status", "--json"], 0, '"chunks": 0'),
    (["report", "--html", "-"], 0, "Nothing is embedded yet. Next: "),
    (["health"], 2, "knowledge_base is empty; load documents with `embedding-assets load PATH`"),
    (["spaces"], 0, "There is no vector space yet"),
    (["spaces", "--json"], 0, "[]"),
    (["documents"], 0, "Nothing is loaded. Next: embedding-assets load PATH"),
    (["documents", "handbook"], 1, "handbook is not loaded"),
    (["sync", "--list"], 0, "No source is known. Add one"),
    (["estimate"], 0, "knowledge_base is empty; load documents with `embedding-assets load PATH`"),
    (["estimate", "--json"], 0, '"pending": 0, "chunks": 0, "tokens": 0, "seconds": 0.0, "usd": 0.0'),
    (["drift"], 2, "knowledge_base is empty; load documents with"),
    (["duplicates"], 2, "knowledge_base is empty; load documents with"),
    (["costs"], 0, "Nothing was ever billed"),
    (["costs", "--json"], 0, '"usd_today": 0.0'),
    (["failures"], 0, "No chunk has failed"),
]
LOOKS = [
    ["status"],
    ["report", "--html", "-"],
    ["spaces"],
    ["documents"],
    ["sync", "--list"],
    ["estimate"],
    ["drift"],
    ["duplicates"],
    ["costs"],
    ["failures"],
]


@pytest.mark.parametrize(("command", "code", "said"), ON_NOTHING)
def test_nothing_is_made_in_a_new_database(run, empty_url, monkeypatch, command, code, said):
    monkeypatch.setenv("EMBEDDING_DATABASE_URL", empty_url)
    ended, out, err = run(*command)
    assert ended == code
    assert said in " ".join((out + err).split())
    assert run_sql(empty_url, TABLES) == []


@pytest.mark.parametrize(
    ("command", "code", "said"), [*ON_NOTHING, (["search", "question"], 2, "nothing is embedded here yet")]
)
def test_no_embedded_server_is_made(run, tmp_path, monkeypatch, command, code, said):
    monkeypatch.setenv("EMBEDDING_DATA_DIR", str(tmp_path / "data"))
    ended, out, err = run(*command)
    assert ended == code
    assert said in " ".join((out + err).split())
    assert list(tmp_path.iterdir()) == []


def test_no_embedded_server_is_made_in_an_empty_folder(run, tmp_path, monkeypatch):
    """Where a volume is to be mounted."""
    (tmp_path / "postgres").mkdir()
    monkeypatch.setenv("EMBEDDING_DATA_DIR", str(tmp_path))
    assert run("status")[0] == 0
    assert list((tmp_path / "postgres").iterdir()) == []


def test_a_table_of_yours_is_not_where_no_embedded_server_is(run, tmp_path, monkeypatch):
    monkeypatch.setenv("EMBEDDING_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("EMBEDDING_TABLE", "shop.notes")
    code, _, err = run("status")
    assert code == 2
    assert "there is no table shop.notes" in " ".join(err.split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", LOOKS)
def test_a_database_that_may_only_be_read_is_looked_at(run, settings, database, database_url, monkeypatch, command):
    insert_chunks(database, [f"text {number}" for number in range(40)])
    if command != ["estimate"]:
        assert run("embed")[0] == 0
        insert_chunks(database, ["one more"])
    only_read = make_conninfo(database_url, options="-c default_transaction_read_only=on")
    monkeypatch.setenv("EMBEDDING_DATABASE_URL", only_read)
    code, out, err = run(*command)
    assert (code, bool(out)) == (0, True), err


@pytest.mark.parametrize("command", LOOKS)
def test_an_older_schema_is_left_as_it_is(run, settings, database, database_url, monkeypatch, command):
    current, newer = schema.HEAD, f"{int(schema.HEAD) + 1:04}"
    monkeypatch.setattr(schema, "HEAD", newer)
    monkeypatch.setattr(schema, "_upgrade", lambda *_: pytest.fail("it was migrated"))
    code, out, err = run(*command)
    assert (code, out) == (2, "")
    said = f"knowledge_base has version {current}, and this package needs {newer}; `embedding-assets migrate` brings it"
    assert said in " ".join(err.split())


def test_health_brings_an_older_schema_up_to_date(run, settings, database, monkeypatch):
    upgraded = []
    insert_chunks(database, ["text"])
    assert run("embed")[0] == 0
    monkeypatch.setattr(schema, "HEAD", f"{int(schema.HEAD) + 1:04}")
    monkeypatch.setattr(schema, "_upgrade", lambda *_: upgraded.append(True))
    assert run("health")[0] == 0
    assert upgraded


def test_a_lost_trigger_is_said_and_left_to_the_next_run(run, settings, database, database_url):
    run_sql(database_url, "DROP TRIGGER zzz_embedding_assets_text_changed ON knowledge_base")
    code, _, err = run("status")
    assert code == 0
    assert "text_changed is missing on knowledge_base; the next load or run puts it back" in err
    assert run_sql(database_url, "SELECT 1 FROM pg_trigger WHERE tgname = 'zzz_embedding_assets_text_changed'") == []
