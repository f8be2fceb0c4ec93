"""Tables that a program of its own would have: keys of several types, names that need quotes, partitions."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import psycopg

from embedding_assets import EmbeddingGenerator
from embedding_assets.config import Settings, TableConfig
from embedding_assets.postgres.adopting import adopt
from embedding_assets.postgres.bootstrap import open_database, resolve_url
from embedding_assets.postgres.connection import Database
from embedding_assets_tests.support.fakes import FAKE_SPACE, FakeProvider, vector_of

SPACE = replace(FAKE_SPACE, dimensions=8)


@dataclass(frozen=True)
class Shop:
    """A table: how it is made and filled, what is said when it is adopted, and the text of its first row."""

    relation: str
    create: str
    insert: str
    config: dict[str, object]
    first_text: str
    first_key: dict[str, object]
    edit: str
    others: str = "*"
    more: tuple[str, ...] = field(default=())


BIGINT = Shop(
    relation="notes",
    create="CREATE TABLE notes (id bigint PRIMARY KEY, title text, body text, price numeric, lang varchar(8))",
    insert="""
        INSERT INTO notes SELECT n, CASE WHEN n %% 3 > 0 THEN 'Title ' || n END, 'body ' || n, n / 2.0,
               CASE WHEN n %% 2 = 0 THEN 'en' ELSE 'de' END FROM generate_series(1, %s) n
    """,
    config={"text": r"Title: {title}\n{body}", "metadata": ("price", "lang")},
    first_text="Title: Title 1\nbody 1",
    first_key={"id": 1},
    edit="UPDATE notes SET title = 'Edited' WHERE id = 1",
)
UUID = Shop(
    relation="documents",
    create="CREATE TABLE documents (key uuid PRIMARY KEY, content text NOT NULL, at timestamptz DEFAULT now())",
    insert="INSERT INTO documents SELECT md5(n::text)::uuid, 'content ' || n FROM generate_series(1, %s) n",
    config={"text": "content"},
    first_text="content 1",
    first_key={"key": "c4ca4238-a0b9-2382-0dcc-509a6f75849b"},
    edit="UPDATE documents SET content = 'edited' WHERE content = 'content 1'",
)
COMPOSITE = Shop(
    relation="pages",
    create="""
        CREATE TABLE pages (
            book text, page integer, words text,
            lowered text GENERATED ALWAYS AS (lower(words)) STORED, PRIMARY KEY (book, page)
        )
    """,
    insert="""
        INSERT INTO pages (book, page, words) SELECT 'Book, ' || n %% 3, n, 'Words ' || n
        FROM generate_series(1, %s) n
    """,
    config={"text": "lowered"},
    first_text="words 1",
    first_key={"book": "Book, 1", "page": 1},
    edit="UPDATE pages SET words = 'EDITED' WHERE page = 1",
)
PARTITIONED = Shop(
    relation='shop."Öffers 100%"',
    create="""
        CREATE SCHEMA shop;
        CREATE TABLE shop."Öffers 100%" (
            "Valid From" timestamptz NOT NULL, "N°" integer NOT NULL, "The %s Text" text,
            PRIMARY KEY ("Valid From", "N°")
        ) PARTITION BY RANGE ("Valid From");
        CREATE TABLE shop.early PARTITION OF shop."Öffers 100%" FOR VALUES FROM ('2020-01-01Z') TO ('2021-01-01Z');
        CREATE TABLE shop.late PARTITION OF shop."Öffers 100%" FOR VALUES FROM ('2021-01-01Z') TO ('2030-01-01Z')
    """,
    insert="""
        INSERT INTO shop."Öffers 100%%" SELECT '2020-12-31 12:00Z'::timestamptz + n * interval '1 hour', n, 'text ' || n
        FROM generate_series(1, %s) n
    """,
    config={"text": "The %s Text", "key": ("Valid From", "N°"), "metadata": ("N°",)},
    first_text="text 1",
    first_key={"Valid From": "2020-12-31T13:00:00+00:00", "N°": 1},
    edit="""UPDATE shop."Öffers 100%" SET "The %s Text" = 'edited' WHERE "N°" = 1""",
)
SHOPS = {"bigint": BIGINT, "uuid": UUID, "composite": COMPOSITE, "partitioned": PARTITIONED}


def fill(connection: psycopg.Connection, shop: Shop, rows: int) -> None:
    connection.execute(shop.create)
    connection.execute(shop.insert, [rows])


def adopt_shop(settings: Settings, shop: Shop, **changes: object) -> Settings:
    """Adopt the table as it is said; returns settings that lead to it."""
    config = TableConfig(relation=shop.relation, **{**shop.config, **changes})
    with Database(resolve_url(settings), settings.database, config) as database:
        adopt(database, config)
    return settings.model_copy(update={"source": TableConfig(relation=shop.relation)})


@contextmanager
def opened(settings: Settings) -> Iterator[Database]:
    with open_database(settings) as database:
        yield database


def embed(settings: Settings, database: Database, provider: FakeProvider | None = None, **arguments: object):
    provider = provider or FakeProvider(space=SPACE)
    return EmbeddingGenerator(settings, database=database, provider=provider, **arguments).generate_embeddings_batch()


def stale(database: Database, column: str = "embedding", make: Callable = vector_of) -> list[tuple[object, str]]:
    """Rows whose vector is not that of their text: their key and the text."""
    table = database.table
    query = (
        f"SELECT {table.key_texts().as_string()}, {table.text().as_string()}, {column}::real[] "
        f"FROM {table.rows.as_string()} k WHERE {column} IS NOT NULL"
    )
    rows = database.run(lambda connection: connection.execute(query, []).fetchall())
    return [
        (key, text)
        for key, text, vector in rows
        if not np.allclose(np.array(vector, dtype=np.float32), make(text, 8), atol=1e-6)
    ]
