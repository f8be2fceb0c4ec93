"""Conditions hold of the rows that a person means, in the metadata of chunks and in columns of any table."""

import json

import pytest

from embedding_assets.errors import ConfigurationError
from embedding_assets.postgres.conditions import Condition, clause_of, conditions_of
from embedding_assets.postgres.table import Column, Table, castable
from embedding_assets_tests.support.fakes import insert_chunks

DOCUMENTS = {
    "draft": {"draft": True, "price": 12.5, "year": 2024, "tags": ["x", "y"], "lang": "de", "source": "docs/guide.md"},
    "final": {"draft": False, "price": 3, "year": 2023, "tags": ["z"], "lang": "en", "source": "guide.md"},
    "texts": {"draft": "true", "price": "12.5", "year": "2024", "tags": "x", "lang": "fr", "source": "other/guide.mdx"},
    "deep": {"page": {"number": 3}, "metadata": {"page": 7}, "a.b": 1, "day": "2024-05-01T10:00:00Z", "lang": None},
    "later": {
        "page": {"number": 4},
        "day": "2024-06-30",
        "numbers": [1, 2],
        "version": "v2.13.0",
        "page_count": 3,
        "price": "3.00",
    },
    "empty": {"price": "0.2500"},
}


@pytest.fixture
def documents(database, execute):
    for name, document in DOCUMENTS.items():
        insert_chunks(database, [name], document_metadata=json.dumps(document))
    return execute


def holding(database, where) -> set[str]:
    """Texts of the chunks of which the conditions hold."""
    clauses = [clause_of(database.table, one, f"w{number}") for number, one in enumerate(conditions_of(where))]
    values = {name: value for clause in clauses for name, value in clause.parameters.items()}

    def work(connection):
        from psycopg import sql

        query = sql.SQL("SELECT chunk_text FROM knowledge_base k WHERE {}").format(
            sql.SQL(" AND ").join(clause.sql for clause in clauses)
        )
        return {text for (text,) in connection.execute(query, values).fetchall()}

    return database.run(work)


@pytest.mark.usefixtures("documents")
@pytest.mark.parametrize(
    ("where", "wanted"),
    [
        (["draft=true"], {"draft", "texts"}),
        (["draft=True"], {"draft", "texts"}),
        (["draft=false"], {"final"}),
        ({"draft": True}, {"draft"}),
        (["price=12.5"], {"draft", "texts"}),
        (["price=12.50"], {"draft"}),
        ({"price": 12.5}, {"draft", "texts"}),
        (["price=3"], {"final", "later"}),
        (["price=3.0"], {"final"}),
        (["price=3.00"], {"final", "later"}),
        (["price=03"], {"final"}),
        ({"price": 3}, {"final", "later"}),
        (["price in (1, 3)"], {"final", "later"}),
        (["price=0.25"], {"empty"}),
        (["price!=3"], {"draft", "texts", "deep", "empty"}),
        (["year>=2024"], {"draft", "texts"}),
        (["year<2024"], {"final"}),
        (["price<10"], {"final", "later", "empty"}),
        (["price>3", "price<=12.5"], {"draft", "texts"}),
        (["price>=12.50", "price<=12.50"], {"draft", "texts"}),
        (["tags=x"], {"draft", "texts"}),
        (["numbers=2"], {"later"}),
        (["lang=de", "lang=en"], {"draft", "final"}),
        (["lang in (de, fr)"], {"draft", "texts"}),
        ({"lang": ["de", "fr"]}, {"draft", "texts"}),
        (["lang not in (de, fr)"], {"final", "deep", "later", "empty"}),
        (["lang!=de"], {"final", "texts", "deep", "later", "empty"}),
        (["tags!=x"], {"final", "deep", "later", "empty"}),
        (["lang is null"], {"deep", "later", "empty"}),
        (["lang is not null"], {"draft", "final", "texts"}),
        (["page.number=3"], {"deep"}),
        (["page.number>=3"], {"deep", "later"}),
        (["metadata.page=7"], {"deep"}),
        (["metadata.page_count=3"], {"later"}),
        (["a.b=1"], {"deep"}),
        (["page.number is null"], {"draft", "final", "texts", "empty"}),
        (["day>=2024-05-01"], {"deep", "later"}),
        (["day<=2024-05-01"], {"deep"}),
        (["day>2024-05-01"], {"later"}),
        (["day<2024-06"], {"deep"}),
        (["day>2023"], {"deep", "later"}),
        (["version=v2.13.0"], {"later"}),
        (["source=guide.md"], {"draft", "final"}),
        (["source=docs/guide.md"], {"draft"}),
        (["source=uide.md"], set()),
        (["source!=guide.md"], {"texts", "deep", "later", "empty"}),
        (["source in (guide.md, guide.mdx)"], {"draft", "final", "texts"}),
        (["price=cheap"], set()),
        (["nothing=1"], set()),
        (["lang="], set()),
    ],
)
def test_the_rows_that_a_person_means(database, where, wanted):
    assert holding(database, where) == wanted


@pytest.mark.usefixtures("documents")
@pytest.mark.parametrize("value", ["1e400", "-0", "+5", "007", "9" * 190, "1e-999", "٣", "1_000", "--", "%", "\\"])
def test_any_value_can_be_compared(database, value):
    for operator in ("=", "!=", "<", ">="):
        assert "draft" in holding(database, [f"price{operator}{value}"]) | {"draft"}


MANY = 20_000


@pytest.mark.usefixtures("documents")
@pytest.mark.parametrize(
    ("where", "wanted"),
    [
        ({"price": [3, *range(100, MANY)]}, {"final", "later"}),
        ({"tags": ["x", *(f"none {number}" for number in range(MANY))]}, {"draft", "texts"}),
        ({"source": ["guide.md", "other/guide.mdx", *(f"no/{number}" for number in range(MANY))]},
         {"draft", "final", "texts"}),
        ({"origin": [f"file:///{number}" for number in range(4 * MANY)]}, set()),
    ],
)  # fmt: skip
def test_more_values_than_a_statement_has_parameters(database, where, wanted):
    assert holding(database, where) == wanted


TABLE = Table(
    "public", "goods", 1, "records", is_own=False, key=(Column("id", "bigint"),), template="{name}",
    metadata=(
        Column("name", "text"), Column("price", "numeric"), Column("sold", "boolean"), Column("day", "date"),
        Column("tags", "text[]"), Column("more", "jsonb"), Column("old", "json"), Column("code", castable("character")),
        Column("codes", "character[]"),
    ),
)  # fmt: skip


@pytest.fixture
def goods(execute):
    execute(
        "CREATE TABLE goods (id bigint, name text, price numeric, sold boolean, day date, tags text[], more jsonb, "
        "old json, code character(3), codes character(3)[])"
    )
    execute(
        "INSERT INTO goods VALUES (1, 'a', 2.5, true, '2024-05-01', '{x,y}', '{\"page\": {\"n\": 3}}', '{\"k\": 1}', "
        "'abc', '{abc,def}')"
    )
    execute("INSERT INTO goods VALUES (2, 'b', 10, false, '2024-06-01', '{z}', '{\"page\": {\"n\": 4}}')")
    execute("INSERT INTO goods VALUES (3)")
    return execute


@pytest.mark.parametrize(
    ("where", "wanted", "indexable"),
    [
        (["id=1"], {1}, "id"),
        ({"id": [1, 3]}, {1, 3}, "id"),
        (["price=2.50"], {1}, "price"),
        (["price<3"], {1}, "price"),
        (["price!=10"], {1, 3}, None),
        (["price not in (10, 2.5)"], {3}, None),
        ({"sold": False}, {2}, "sold"),
        (["day>=2024-05-15"], {2}, "day"),
        (["name is null"], {3}, None),
        (["tags=x"], {1}, "tags"),
        (["tags in (x, z)"], {1, 2}, "tags"),
        (["tags!=x"], {2, 3}, None),
        (["more.page.n=3"], {1}, "more"),
        (["more.page.n>3"], {2}, None),
        (["old.k=1"], {1}, None),
        ({"id": list(range(3, 80_000))}, {3}, "id"),
        ({"tags": ["x", "none", *map(str, range(80_000))]}, {1}, "tags"),
        (["code=abc"], {1}, "code"),
        (["codes=abc"], {1}, "codes"),
        (["codes in (a, xyz)"], set(), "codes"),
        (Condition("name", "=", ("a", "b")), {1, 2}, "name"),
        (Condition("name", "!=", ("a", "b")), {3}, None),
    ],
)
def test_columns_of_any_table(goods, database, where, wanted, indexable):
    from psycopg import sql

    [condition] = conditions_of(where)
    clause = clause_of(TABLE, condition, "w")
    query = sql.SQL("SELECT id FROM goods k WHERE {}").format(clause.sql)
    rows = database.run(lambda connection: connection.execute(query, clause.parameters).fetchall())
    assert {number for (number,) in rows} == wanted
    assert clause.indexable == indexable


@pytest.mark.parametrize("where", ["colour=red", "name.first=a", "tags<x"])
def test_what_a_table_does_not_have(where):
    with pytest.raises(ConfigurationError, match=r"knows no|holds lists"):
        clause_of(TABLE, conditions_of([where])[0], "w")
