"""The command `sync`."""

import json
from contextlib import closing

import psycopg
import pytest

from embedding_assets.config import Settings
from embedding_assets.documents.syncing import add_source
from embedding_assets.errors import ConfigurationError
from embedding_assets.postgres.source_lookup import define_table


@pytest.fixture
def shop(settings: Settings, beside: psycopg.Connection) -> psycopg.Connection:
    """Somebody's tables, and their connection."""
    beside.execute("CREATE SCHEMA shop")
    beside.execute("CREATE TABLE shop.articles (id bigint PRIMARY KEY, title text, body text, lang text)")
    beside.execute("INSERT INTO shop.articles VALUES (1, 'One', 'alpha', 'en'), (2, 'Two', 'beta', 'de')")
    return beside


def test_a_table_is_synced_by_its_name_once_it_is_known(shop, run):
    code, out, _ = run("sync", "shop.articles", "--text", "body", "--title", "title", "--metadata", "lang")
    assert (code, out) == (
        0,
        "shop.articles: 2 rows compared; documents: 2 added, 0 changed, 0 removed; chunks: 2 added, 0 removed.\n"
        "Next: embedding-assets embed\n",
    )
    shop.execute("INSERT INTO shop.articles VALUES (3, 'Three', NULL), (4, 'Four', 'delta')")
    code, out, err = run("sync", "shop.articles", "--json")
    assert json.loads(out) == {
        "sources": [
            {
                "source": "shop.articles",
                "noted": False,
                "rows": 4,
                "added": 1,
                "changed": 0,
                "removed": 0,
                "rejected": 1,
                "chunks_added": 1,
                "chunks_removed": 0,
                "remark": "",
            }
        ],
        "rejections": [{"source": "shop.articles/3", "line": None, "reason": "has an empty or blank text"}],
        "errors": {},
    }
    assert (code, err) == (0, "rejected: shop.articles/3: has an empty or blank text\n")
    assert run("sync")[1].startswith("shop.articles: 4 rows compared; documents: 0 added, 0 changed, 0 removed")
    # Options that are not repeated stay as they were.
    assert "documents: 0 added, 0 changed, 2 removed" in run("sync", "shop.articles", "--where", "lang = 'en'")[1]
    assert "documents: 2 added, 0 changed, 0 removed" in run("sync", "shop.articles", "--where", "")[1]
    assert shop.execute("SELECT count(DISTINCT document_metadata ->> 'title') FROM knowledge_base").fetchone() == (3,)


def test_a_query_is_synced_watched_tables_are_noted_and_all_of_it_is_listed_and_forgotten(shop, run):
    query = "SELECT id AS key, body AS text, lang FROM shop.articles"
    assert run("sync", "--query", query, "--name", "pages")[0] == 0
    assert "triggers" not in run("sync", "shop.articles", "--text", "body", "--watch")[1]
    shop.execute("UPDATE shop.articles SET body = 'changed' WHERE id = 1")
    code, out, _ = run("sync")
    assert code == 0
    assert out.splitlines() == [
        "pages: 2 rows compared; documents: 0 added, 1 changed, 0 removed; chunks: 1 added, 1 removed.",
        "shop.articles: 1 noted row; documents: 0 added, 1 changed, 0 removed; chunks: 1 added, 1 removed.",
        "Next: embedding-assets embed",
    ]
    assert "shop.articles: 2 rows compared" in run("sync", "shop.articles", "--full")[1]
    listed = json.loads(run("sync", "--list", "--json")[1])
    assert [(one["name"], one["documents"], one["chunks"], one["rejected"], one["noticed"]) for one in listed] == [
        ("pages", 2, 2, 0, "by comparing"),
        ("shop.articles", 2, 2, 0, "by triggers"),
    ]
    assert listed[0]["synced_at"]
    table = run("sync", "--list")[1]
    assert "pages" in table
    assert "by triggers" in table
    assert run("sync", "--forget", "pages")[1] == "pages is forgotten: 2 documents and 2 chunks removed.\n"
    assert json.loads(run("sync", "--forget", "articles", "--json")[1]) == {
        "source": "shop.articles",
        "documents": 2,
        "chunks": 2,
    }
    assert "No source is known." in run("sync", "--list")[1]


def test_one_source_that_fails_does_not_keep_the_others_from_being_synced(shop, run):
    shop.execute("CREATE VIEW shop.all_of_them AS SELECT * FROM shop.articles")
    assert run("sync", "shop.all_of_them", "--key", "id", "--text", "body")[0] == 0
    assert run("sync", "shop.articles", "--text", "body")[0] == 0
    shop.execute("DROP VIEW shop.all_of_them")
    shop.execute("DELETE FROM shop.articles WHERE id = 1")
    code, out, err = run("sync", "--json")
    assert code == 1
    assert [one["removed"] for one in json.loads(out)["sources"]] == [1]
    assert list(json.loads(out)["errors"]) == ["shop.all_of_them"]
    assert "`embedding-assets sync --forget 'shop.all_of_them'` takes its chunks away" in err


def test_the_exit_status_is_1_where_no_row_is_a_document(shop, run):
    shop.execute("UPDATE shop.articles SET body = ''")
    code, out, _ = run("sync", "shop.articles", "--text", "body")
    assert (code, "2 rows rejected" in out) == (1, True)


REFUSED = {
    "no source": ([], "no source is known yet"),
    "no text": (["shop.articles"], "--text: say which column"),
    "no table": (["shop.nothing", "--text", "body"], "there is no table shop.nothing"),
    "no column": (["shop.articles", "--text", "content"], "has no column"),
    "no key": (["shop.log", "--text", "body"], "has no primary key"),
    "a sequence": (["shop.numbers", "--text", "last_value", "--key", "is_called"], "neither a table nor a view"),
    "our table": (["knowledge_base", "--text", "chunk_text"], "cannot be their source too"),
    "metadata of every document": (
        ["shop.articles", "--text", "body", "--metadata", "title"],
        "every document has its own title",
    ),
    "a condition that is none": (
        ["shop.articles", "--text", "body", "--where", "nonsense = 1"],
        "--where is not a cond",
    ),
    "a condition and more": (
        ["shop.articles", "--text", "body", "--where", "true); DROP TABLE shop.log;"],
        "--where",
    ),
    "two queries": (["--query", "SELECT 1 AS key, 'x' AS text; DROP TABLE shop.log", "--name", "q"], "--query is not"),
    "a query that writes": (
        ["--query", "WITH d AS (DELETE FROM shop.log RETURNING 1) SELECT 1 AS key, 'x' AS text", "--name", "q"],
        "--query is not one SELECT that only reads",
    ),
    "a query without a text": (["--query", "SELECT 1 AS key", "--name", "q"], "it has no column text"),
    "a query with a column twice": (
        ["--query", "SELECT 1 AS key, 'x' AS text, 1 AS a, 2 AS a", "--name", "q"],
        "two of its columns have the same name",
    ),
    "a query without a name": (["--query", "SELECT 1 AS key, 'x' AS text"], "--query needs a --name"),
    "a name with a slash": (["--query", "SELECT 1 AS key, 'x' AS text", "--name", "a/b"], "is no name"),
    "a query with columns": (["--query", "SELECT 1", "--name", "q", "--text", "body"], "--text: a query says"),
    "options without a table": (["--text", "body"], "say which table these options are about"),
    "a list of one": (["shop.articles", "--list"], "--list, --forget and --release go with --json alone"),
    "forgetting what is not known": (["--forget", "shop.articles"], "there is no source shop.articles"),
    "watching a partitioned table": (["shop.parts", "--text", "body", "--watch"], "is partitioned"),
    "watching a partition": (["shop.part", "--text", "body", "--watch"], "inherits from"),
    "watching a view": (["shop.seen", "--text", "body", "--key", "id", "--watch"], "is no table"),
    "watching a key that is not unique": (
        ["shop.log", "--text", "body", "--key", "id", "--watch"],
        "unique and NOT NULL",
    ),
    "watching the time": (
        ["shop.articles", "--text", "body", "--where", "now() > '2020-01-01'", "--watch"],
        "depends on the time, on settings or on other tables",
    ),
    "watching other tables": (
        ["shop.articles", "--text", "body", "--where", "id NOT IN (SELECT id FROM shop.log)", "--watch"],
        "depends on the time, on settings or on other tables",
    ),
}


@pytest.mark.parametrize(("arguments", "said"), REFUSED.values(), ids=REFUSED)
def test_what_will_not_do_is_refused_before_anything_is_changed(shop, run, arguments: list[str], said: str):
    shop.execute("CREATE TABLE shop.log (id bigint, body text); CREATE SEQUENCE shop.numbers")
    shop.execute("CREATE TABLE shop.parts (id bigint PRIMARY KEY, body text) PARTITION BY RANGE (id)")
    shop.execute("CREATE TABLE shop.part PARTITION OF shop.parts DEFAULT")
    shop.execute("CREATE VIEW shop.seen AS SELECT * FROM shop.articles")
    code, _, err = run("sync", *arguments)
    assert (code, said in " ".join(err.split())) == (2, True), err
    assert shop.execute("SELECT to_regclass('shop.log') IS NOT NULL").fetchone() == (True,)
    assert shop.execute("SELECT count(*) FROM synced_sources").fetchone() == (0,)
    assert shop.execute("SELECT count(*) FROM pg_trigger WHERE starts_with(tgname, 'embedding_assets')").fetchone() == (
        0,
    )


def test_a_partitioned_table_is_compared(shop, run):
    shop.execute("CREATE TABLE shop.parts (id bigint PRIMARY KEY, body text) PARTITION BY RANGE (id)")
    shop.execute("CREATE TABLE shop.part PARTITION OF shop.parts DEFAULT; INSERT INTO shop.part VALUES (1, 'one')")
    assert "documents: 1 added" in run("sync", "shop.parts", "--text", "body")[1]


def test_markdown_is_split_at_its_headings(shop, run):
    shop.execute("UPDATE shop.articles SET body = E'# A\\n\\nalpha\\n\\n# B\\n\\nbeta' WHERE id = 1")
    assert "chunks: 2 added" in run("sync", "shop.articles", "--text", "body", "--title", "title")[1]
    assert "chunks: 2 added, 1 removed" in run("sync", "shop.articles", "--markdown")[1]
    query = "SELECT context_header FROM knowledge_base ORDER BY 1"
    assert [header for (header,) in shop.execute(query)] == ["One > A", "One > B", "Two"]


def test_an_adopted_table_is_not_filled(empty_url: str, run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EMBEDDING_DATABASE_URL", empty_url)
    with closing(psycopg.connect(empty_url, autocommit=True)) as owner:
        owner.execute("CREATE TABLE articles (id bigint PRIMARY KEY, body text)")
    assert run("adopt", "articles", "--text", "body", "--yes")[0] == 0
    for arguments in (["--list"], [], ["articles", "--text", "body"], ["--forget", "articles"]):
        code, _, err = run("sync", *arguments)
        assert (code, "is filled by others" in err) == (2, True)


def test_a_source_is_released_for_another_asset(shop, database, run):
    with database.session() as connection:
        one, other = (define_table(connection, "shop.articles", text=text) for text in ("body", "title"))
    add_source(database, one, owner="first/synced_rows")
    with pytest.raises(ConfigurationError, match=r"run `embedding-assets sync --release shop\.articles`"):
        add_source(database, other, owner="second/synced_rows")
    [listed] = json.loads(run("sync", "--list", "--json")[1])
    assert listed["owners"] == ["first/synced_rows"]
    assert "owners" in run("sync", "--list")[1]
    code, out, _ = run("sync", "--release", "Articles")
    assert (code, out) == (0, "The next asset of Dagster that syncs shop.articles defines it.\n")
    assert "owners" not in run("sync", "--list")[1]
    add_source(database, other, owner="second/synced_rows")
    assert "there is no source nothing" in run("sync", "--release", "nothing")[2]


def test_a_table_is_forgotten_by_any_name_that_means_it_and_a_query_by_its_own(shop, run):
    shop.execute("CREATE SCHEMA old; CREATE TABLE old.articles (id bigint PRIMARY KEY, body text)")
    query = "SELECT id AS key, body AS text FROM shop.articles"
    assert run("sync", "--query", query, "--name", "Reviews")[0] == 0
    for table in ("shop.articles", "old.articles"):
        assert run("sync", table, "--text", "body", "--json")[0] == 0
    code, _, err = run("sync", "--forget", "articles")
    assert (code, " ".join(err.split())) == (
        2,
        "error: articles is the name of several sources, old.articles and shop.articles; say which",
    )
    for name in ("reviews", "REVIEWS", "shop.Reviews", "", ".", "other.shop.articles", '"Articles"'):
        code, _, err = run("sync", "--forget", name)
        assert (code, "there is no source" in err) == (2, True), (name, err)
    assert run("sync", "--forget", "SHOP.Articles")[1].startswith("shop.articles is forgotten")
    assert run("sync", "--forget", "Articles")[1].startswith("old.articles is forgotten")
    assert run("sync", "--forget", "Reviews")[1].startswith("Reviews is forgotten")
