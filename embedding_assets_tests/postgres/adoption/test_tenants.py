"""An adopted table of many tenants: each search is for one of them."""

import psycopg
import pytest

from embedding_assets.config import IndexConfig
from embedding_assets.postgres.conditions import conditions_of
from embedding_assets.postgres.index.build import build_vector_index
from embedding_assets.postgres.search import find_chunks, scope
from embedding_assets.postgres.search_indexes import build_search_indexes
from embedding_assets.postgres.spaces import list_spaces
from embedding_assets_tests.support.fakes import vector_of
from embedding_assets_tests.support.shop import Shop, adopt_shop, embed, fill, opened
from embedding_assets_tests.support.tables import PlanRecorder

ROWS = 1200
_COLUMNS = "tenant integer, id integer, body text, PRIMARY KEY (tenant, id)"
_INSERT = """
    INSERT INTO notes SELECT CASE WHEN n <= 5 THEN 7 ELSE n %% 2 END, n, 'note ' || n FROM generate_series(1, %s) n
"""


def notes(create: str) -> Shop:
    return Shop(
        relation="notes", create=create, insert=_INSERT, config={"text": "body", "metadata": ("tenant",)},
        first_text="note 1", first_key={"tenant": 7, "id": 1}, edit="",
    )  # fmt: skip


WHOLE = notes(f"CREATE TABLE notes ({_COLUMNS})")
PARTS = notes(f"""
    CREATE TABLE notes ({_COLUMNS}) PARTITION BY LIST (tenant);
    CREATE TABLE notes_0 PARTITION OF notes FOR VALUES IN (0);
    CREATE TABLE notes_1 PARTITION OF notes FOR VALUES IN (1);
    CREATE TABLE notes_7 PARTITION OF notes FOR VALUES IN (7)
""")


@pytest.mark.parametrize("shop", [WHOLE, PARTS], ids=["one table", "partitions"])
def test_a_search_finds_the_rows_of_one_tenant(settings, database_url, shop, monkeypatch):
    monkeypatch.setattr(scope, "_FEWEST", 20)
    monkeypatch.setattr(scope, "_MOST", 20)
    with psycopg.connect(database_url, autocommit=True) as connection:
        fill(connection, shop, ROWS)
        if shop is WHOLE:
            connection.execute("CREATE INDEX CONCURRENTLY notes_tenant ON notes (tenant)")
        adopted = adopt_shop(settings, shop)
        with opened(adopted) as database:
            embed(adopted, database)
            [column] = list_spaces(database)
            build_vector_index(database, column, IndexConfig())
            build_search_indexes(database, "simple")
            if shop is WHOLE:
                # For queries of the owner's: searches go on by the index of the whole table.
                connection.execute("CREATE INDEX ON notes USING hnsw (embedding vector_cosine_ops) WHERE tenant = 0")
            connection.execute("ANALYZE notes")
            plans = (
                ["notes_tenant", "using notes_embedding_hnsw"] if shop is WHOLE else [" on notes_7 ", " on notes_0 "]
            )
            for tenant, plan in zip((7, 0), plans, strict=True):
                recorder = PlanRecorder(database)
                found = find_chunks(
                    recorder, column=column, vector=vector_of("note 9", 8), words="note", limit=10,
                    where=conditions_of([f"tenant={tenant}"]), index=IndexConfig(),
                )  # fmt: skip
                assert {chunk.metadata["tenant"] for chunk in found.chunks} == {tenant}
                assert len(found.chunks) == (5 if tenant == 7 else 10)
                assert plan in recorder.plan
                # Rows that were found are fetched by their places, which costs next to nothing in other partitions.
                ran = [
                    line
                    for line in recorder.plan.splitlines()
                    if "never executed" not in line and "Tid Scan" not in line
                ]
                others = {0, 1, 7} - {tenant}
                assert not [line for line in ran for other in others if f" on notes_{other} " in line]
