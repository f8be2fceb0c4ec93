"""Any table is searched by words and filters, by indexes that are gone when it is left."""

import psycopg
import pytest

from embedding_assets.config import IndexConfig, Settings
from embedding_assets.errors import ConfigurationError
from embedding_assets.postgres.adopting import plan_undoing, undo_adoption
from embedding_assets.postgres.conditions import conditions_of
from embedding_assets.postgres.index.lifecycle import build_indexes
from embedding_assets.postgres.index.searching import build_for_searches
from embedding_assets.postgres.search import find_chunks, scope
from embedding_assets.postgres.search.facts import READ_ROWS
from embedding_assets.postgres.search_indexes import word_indexes
from embedding_assets.postgres.spaces import serving_space
from embedding_assets_tests.support.fakes import vector_of
from embedding_assets_tests.support.shop import BIGINT, PARTITIONED, SHOPS, Shop, adopt_shop, embed, fill, opened
from embedding_assets_tests.support.tables import PlanRecorder


@pytest.fixture(params=SHOPS)
def shop(request: pytest.FixtureRequest) -> Shop:
    return SHOPS[request.param]


def find(database, words=None, *, column=None, vector=None, where=(), limit=5):
    return find_chunks(
        database, column=column, vector=vector, words=words, limit=limit, where=conditions_of(where),
        index=IndexConfig(),
    )  # fmt: skip


@pytest.mark.parametrize("indexed", [False, True])
def test_by_words_and_by_both(settings: Settings, beside: psycopg.Connection, shop: Shop, indexed: bool):
    fill(beside, shop, 700)
    adopted = adopt_shop(settings, shop)
    with opened(adopted) as database:
        embed(adopted, database)
        column = serving_space(database)
        if indexed:
            build_indexes(database, column, adopted.index)
            assert build_for_searches(database, adopted.index, "simple")
            assert not build_for_searches(database, adopted.index, "simple")
        recorder = PlanRecorder(database)
        found = find(recorder, "what about 617")
        assert found.chunks[0].text.endswith("617")
        assert not found.notes
        assert ("_words_" in recorder.plan) == indexed
        assert set(found.chunks[0].key) == {one.name for one in database.table.key}
        text = found.chunks[0].text
        best = find(database, "617", column=column, vector=vector_of(text, 8)).chunks[0]
        assert (best.text, best.vector_rank, best.text_rank, best.holds_all_words) == (text, 1, 1, True)
        assert best.distance == pytest.approx(0, abs=1e-5)
        assert len(find(database, "617", column=column, vector=vector_of(text, 8), limit=1000).chunks) == 700


def test_nothing_is_left_of_them(settings: Settings, beside: psycopg.Connection, shop: Shop):
    fill(beside, shop, 30)
    query = "SELECT count(*) FROM pg_class WHERE relkind IN ('i', 'I') AND relname LIKE %s"
    adopted = adopt_shop(settings, shop)
    with opened(adopted) as database:
        embed(adopted, database)
        build_for_searches(database, adopted.index, "english")
        [name] = database.run(lambda connection: word_indexes(connection, database.table))
        _, steps = plan_undoing(database, str(database.table))
        assert any(name in step.sql for step in steps)
        undo_adoption(database, str(database.table))
    assert beside.execute(query, ["%\\_words\\_%"]).fetchone() == (0,)


def test_columns_of_which_no_index_can_be_are_left_out(settings: Settings, beside: psycopg.Connection):
    beside.execute("CREATE TABLE events (id bigint PRIMARY KEY, name text, day date, kind integer)")
    beside.execute("INSERT INTO events SELECT n, 'event ' || n, '2024-01-01', n FROM generate_series(1, 30) n")
    adopted = adopt_shop(settings, Shop("events", "", "", {"text": "{name} on {day} of {kind}"}, "", {}, ""))
    with opened(adopted) as database:
        embed(adopted, database)
        assert build_for_searches(database, adopted.index, "simple")
        assert find(database, "event 7").chunks[0].text == "event 7 on 2024-01-01 of 7"
        undo_adoption(database, "events")
    beside.execute("ALTER TABLE events DROP COLUMN name, ADD COLUMN until date")
    adopted = adopt_shop(settings, Shop("events", "", "", {"text": "{day} to {until}"}, "", {}, ""))
    with opened(adopted) as database:
        embed(adopted, database)
        assert not build_for_searches(database, adopted.index, "simple")
        found = find(database, "2024")
        assert (found.chunks, found.notes) == (
            (),
            ("words were not searched: no column of the text of public.events can have an index of words",),
        )


def test_few_rows_are_found_by_an_index_of_one_s_own(
    settings: Settings, beside: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(scope, "_FEWEST", 20)
    monkeypatch.setattr(scope, "_MOST", 20)
    fill(beside, BIGINT, 3000)
    adopted = adopt_shop(settings, BIGINT)
    with opened(adopted) as database:
        embed(adopted, database)
        column = serving_space(database)
        build_indexes(database, column, adopted.index)
        query = {"column": column, "vector": vector_of("x", 8)}
        recorder = PlanRecorder(database)
        by_key = find(recorder, where={"id": [7, 8, 9]}, **query)
        assert sorted(chunk.key["id"] for chunk in by_key.chunks) == ["7", "8", "9"]
        assert "notes_pkey" in recorder.plan
        assert len(find(recorder, where=["price<=2"], **query).chunks) == 4  # by reading the table
        beside.execute("CREATE INDEX by_price ON notes (price)")
        assert len(find(database, where=["price<=2"], **query).chunks) == 4  # and seeing the index
        assert len(find(recorder, where=["price<=2"], **query).chunks) == 4
        assert "by_price" in recorder.plan
        assert len(find(database, where=["lang=en"], limit=40, **query).chunks) == 40
        with pytest.raises(ConfigurationError, match="a value does not fit its column"):
            find(database, where=["price=cheap"], **query)


def test_places_in_partitions_are_told_apart(settings: Settings, beside: psycopg.Connection):
    fill(beside, PARTITIONED, 30)
    adopted = adopt_shop(settings, PARTITIONED)
    with opened(adopted) as database:
        embed(adopted, database)
        for number in range(1, 31):
            assert find(database, f"text {number}").chunks[0].text == f"text {number}"
            [chunk] = find(
                database, where={"N°": number}, column=serving_space(database), vector=vector_of("x", 8)
            ).chunks
            assert chunk.text == f"text {number}"


def test_a_large_table_without_an_index_of_words_says_so(settings: Settings, beside: psycopg.Connection):
    fill(beside, BIGINT, 2 * READ_ROWS)
    adopted = adopt_shop(settings, BIGINT)
    with opened(adopted) as database:
        beside.execute("ANALYZE notes")
        [note] = find(database, "body 7").notes
        assert note == (
            "words were not searched: public.notes has no index of words in this language; `embedding-assets health` "
            "builds it"
        )
        build_for_searches(database, adopted.index, "simple")
        assert find(database, "body 7").chunks[0].text.endswith("body 7")
        assert find(database, "body 7").notes == ()
