"""A table of the user's from end to end: adopted, embedded, edited, searched, and left as it was."""

from dataclasses import replace

import psycopg
import pytest

from embedding_assets.config import IndexConfig, Settings, TableConfig
from embedding_assets.errors import ConfigurationError, TableNotAdoptedError
from embedding_assets.health.judge import judge_embeddings
from embedding_assets.postgres.adopting import plan_adoption, undo_adoption
from embedding_assets.postgres.backlog import count_backlog, fetch_pending, oldest_pending
from embedding_assets.postgres.bootstrap import open_database
from embedding_assets.postgres.catalog import describe_index
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.index.lifecycle import build_indexes
from embedding_assets.postgres.spaces import register_space, serving_space
from embedding_assets.retrieval import search
from embedding_assets_tests.support.fakes import FAKE_SPACE, FakeProvider, vector_of
from embedding_assets_tests.support.searching import nearest_chunks
from embedding_assets_tests.support.shop import BIGINT, SHOPS, SPACE, Shop, adopt_shop, embed, fill, opened, stale


@pytest.fixture(params=SHOPS)
def shop(request: pytest.FixtureRequest) -> Shop:
    return SHOPS[request.param]


def everything(connection: psycopg.Connection, shop: Shop) -> tuple[list, list]:
    """All rows, and what PostgreSQL's catalog says of the table."""
    rows = connection.execute(f"SELECT k::text, xmin::text FROM {shop.relation} k ORDER BY 1").fetchall()
    catalog = connection.execute(
        """
        SELECT 'column', attname::text, format_type(atttypid, atttypmod), attnotnull::text FROM pg_attribute
        WHERE attrelid = to_regclass(%(r)s) AND attnum > 0 AND NOT attisdropped
        UNION ALL SELECT 'index', indexrelid::regclass::text, pg_get_indexdef(indexrelid), indisvalid::text
        FROM pg_index WHERE indrelid = to_regclass(%(r)s)
           OR indrelid IN (SELECT relid FROM pg_partition_tree(to_regclass(%(r)s)))
        UNION ALL SELECT 'trigger', tgname::text, pg_get_triggerdef(oid), tgenabled::text
        FROM pg_trigger WHERE tgrelid = to_regclass(%(r)s)
        UNION ALL SELECT 'constraint', conname::text, pg_get_constraintdef(oid), convalidated::text
        FROM pg_constraint WHERE conrelid = to_regclass(%(r)s)
        UNION ALL SELECT 'schema', nspname::text, '', '' FROM pg_namespace WHERE nspname NOT LIKE 'pg%%'
        UNION ALL SELECT 'file', relfilenode::text, reloptions::text, '' FROM pg_class WHERE oid = to_regclass(%(r)s)
        ORDER BY 1, 2
        """,
        {"r": shop.relation},
    ).fetchall()
    return rows, catalog


def test_from_end_to_end(settings: Settings, shop: Shop, beside: psycopg.Connection):
    fill(beside, shop, 200)
    before = everything(beside, shop)
    adopted = adopt_shop(settings, shop)
    assert everything(beside, shop)[0] == before[0], "no row is touched"
    provider = FakeProvider(space=SPACE)
    with opened(adopted) as database:
        stats = embed(adopted, database, provider)
        assert (stats.embedded, stats.failed, stats.skipped) == (200, 0, 0)
        assert shop.first_text in provider.seen
        column = serving_space(database)
        assert (column.name, count_backlog(database, column).pending) == ("embedding", 0)
        assert stale(database) == []
        [report] = build_indexes(database, column, adopted.index)
        assert (report.state.valid, report.measurement.search.recall) == (True, 1.0)

        beside.execute(shop.edit)
        [pending] = fetch_pending(database, column, range(256), after="", limit=9)
        assert pending.text != shop.first_text
        again = FakeProvider(space=SPACE)
        assert embed(adopted, database, again).embedded == 1
        assert again.seen == [pending.text]
        assert stale(database) == []

        [first, *_] = search(pending.text, k=3, settings=adopted, database=database, provider=again)
        assert (first.text, first.score) == (pending.text, pytest.approx(1))
        assert {key: first.metadata[key] for key in shop.first_key} == shop.first_key

        undo_adoption(database, shop.relation)
    rows, catalog = everything(beside, shop)
    assert catalog == before[1]
    assert len(rows) == 200


@pytest.mark.parametrize("rows", [300, 0], ids=["most of them", "an empty table"])
def test_a_condition_says_which_rows(settings: Settings, beside: psycopg.Connection, rows: int):
    fill(beside, BIGINT, rows)
    adopted = adopt_shop(settings, BIGINT, where="lang = 'en' AND title NOT LIKE '%5%'")
    with opened(adopted) as database:
        expected = beside.execute("SELECT count(*) FROM notes WHERE lang = 'en' AND title NOT LIKE '%5%'").fetchone()
        assert embed(adopted, database).embedded == expected[0]
        column = register_space(database, SPACE)
        backlog = count_backlog(database, column)
        assert (backlog.chunks, backlog.pending) == (expected[0], 0)
        assert beside.execute("SELECT count(*) FROM notes WHERE embedding IS NOT NULL").fetchone() == expected
        # A row that the condition no longer holds for is not found any more, and comes back as it was.
        if rows:
            beside.execute("UPDATE notes SET lang = 'de' WHERE id = 2")
            found = search("x", k=1000, settings=adopted, database=database, provider=FakeProvider(space=SPACE))
            assert 2 not in {result.metadata["id"] for result in found}
            beside.execute("UPDATE notes SET lang = 'en' WHERE id = 2")
            assert count_backlog(database, column).pending == 0


def test_filters_are_of_the_columns_types(settings: Settings, beside: psycopg.Connection):
    fill(beside, BIGINT, 40)
    adopted = adopt_shop(settings, BIGINT)
    with opened(adopted) as database:
        embed(adopted, database)

        def found(*where: str) -> set[int]:
            results = search(
                "x", k=100, where=where, settings=adopted, database=database, provider=FakeProvider(space=SPACE)
            )
            return {result.metadata["id"] for result in results}

        assert found("price<10") == set(range(1, 20))
        assert found("price<10", "lang=en", "id>=4") == {4, 6, 8, 10, 12, 14, 16, 18}
        assert found("lang!=en", "price<=1") == {1}
        assert found("lang=' OR true --") == set()
        with pytest.raises(
            ConfigurationError, match=r"knows no 'title'; public.notes was adopted with id, lang, price"
        ):
            found("title=x")


def test_the_backlog_costs_what_is_pending(settings: Settings, beside: psycopg.Connection):
    fill(beside, BIGINT, 100_000)
    adopted = adopt_shop(settings, BIGINT)
    with opened(adopted) as database:
        for space in (SPACE, FakeProvider().space):
            column = register_space(database, space, new_space=True)
            vector = f"array_fill(0.1, ARRAY[{space.dimensions}])::vector"
            beside.execute(f"UPDATE notes SET {column.name} = {vector} WHERE id > 50")
            beside.execute("VACUUM ANALYZE notes")
            before = reads(beside)
            assert len(fetch_pending(database, column, range(256), after="", limit=1000)) == 50
            assert reads(beside) - before < 500


def reads(connection: psycopg.Connection) -> int:
    """Blocks of the table and its indexes that were looked at so far."""
    connection.execute("SELECT pg_stat_force_next_flush()")
    row = connection.execute(
        "SELECT heap_blks_read + heap_blks_hit + idx_blks_read + idx_blks_hit FROM pg_statio_user_tables "
        "WHERE relname = 'notes'"
    ).fetchone()
    return row[0]


def test_adopting_twice_and_by_two_at_once(settings: Settings, beside: psycopg.Connection):
    fill(beside, BIGINT, 10)
    before = everything(beside, BIGINT)
    from embedding_assets_tests.support.tables import in_threads

    in_threads(*[lambda: adopt_shop(settings, BIGINT)] * 2)
    adopted = adopt_shop(settings, BIGINT, metadata=("price",))
    with opened(adopted) as database:
        assert embed(adopted, database).embedded == 10
        assert [column.name for column in database.table.metadata] == ["price"]
        config = TableConfig(relation="notes", text="body")
        with pytest.raises(
            ConfigurationError, match=r"adopted with another text; first run .*adopt --undo public.notes"
        ):
            plan_adoption(database, config)
        undo_adoption(database, "notes")
    assert everything(beside, BIGINT)[1] == before[1]


def test_after_a_swap_the_copys_own_index_serves(settings: Settings, beside: psycopg.Connection):
    fill(beside, BIGINT, 50)
    adopted = adopt_shop(settings, BIGINT)
    with opened(adopted) as database:
        embed(adopted, database)
        build_indexes(database, serving_space(database), adopted.index)
    # The retired table keeps the names of its indexes.
    beside.execute("CREATE TABLE loaded (LIKE notes INCLUDING ALL); INSERT INTO loaded SELECT * FROM notes")
    beside.execute("ALTER TABLE notes RENAME TO retired; ALTER TABLE loaded RENAME TO notes")
    adopt_shop(settings, BIGINT)
    beside.execute("UPDATE notes SET body = 'edited' WHERE id = 7")
    with opened(adopted) as database:
        column = serving_space(database)
        assert embed(adopted, database).embedded == 1
        [report] = build_indexes(database, column, adopted.index)
        assert (report.state.valid, report.build_seconds) == (True, None)
        assert report.state.name == "loaded_embedding_idx"
        assert stale(database) == []


def test_a_table_that_is_not_adopted_is_left_alone(settings: Settings, beside: psycopg.Connection):
    fill(beside, BIGINT, 3)
    before = everything(beside, BIGINT)
    other = settings.model_copy(update={"source": TableConfig(relation="notes")})
    refusal = pytest.raises(TableNotAdoptedError, match="notes is not adopted yet; `embedding-assets adopt notes`")
    with refusal, open_database(other):
        pass
    config = TableConfig(relation="notes", text="body")
    with Database(settings.database.url.get_secret_value(), settings.database, config) as database:
        plan = plan_adoption(database, config)
    assert [step.lock for step in plan.steps] == ["", "", "SHARE ROW EXCLUSIVE", "SHARE ROW EXCLUSIVE"]
    assert everything(beside, BIGINT) == before


def test_an_index_that_is_there_is_taken_over(settings: Settings, beside: psycopg.Connection):
    fill(beside, BIGINT, 50)
    beside.execute("CREATE EXTENSION IF NOT EXISTS vector")
    beside.execute("ALTER TABLE notes ADD COLUMN vec vector(8)")
    beside.execute("CREATE INDEX theirs ON notes USING hnsw (vec vector_cosine_ops)")
    adopted = adopt_shop(settings, BIGINT, column="vec")
    with opened(adopted) as database:
        embed(adopted, database)
        column = serving_space(database)
        assert (column.name, column.index) == ("vec", "theirs")
        [report] = build_indexes(database, column, adopted.index)
        assert report.build_seconds is None
        undo_adoption(database, "notes")
    indexes = beside.execute("SELECT indexname FROM pg_indexes WHERE tablename = 'notes' ORDER BY 1").fetchall()
    assert indexes == [("notes_pkey",), ("theirs",)]
    assert beside.execute("SELECT count(vec) FROM notes").fetchone() == (50,)


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ('("Vec 1"::halfvec(8)) halfvec_cosine_ops', "halfvec"),
        ('(binary_quantize("Vec 1")::bit(8)) bit_hamming_ops', "bit"),
    ],
)
def test_an_index_of_an_expression_is_taken_over(settings: Settings, beside: psycopg.Connection, key: str, kind: str):
    fill(beside, BIGINT, 50)
    beside.execute("CREATE EXTENSION IF NOT EXISTS vector")
    beside.execute('ALTER TABLE notes ADD COLUMN "Vec 1" vector(8)')
    beside.execute(f"CREATE INDEX theirs ON notes USING hnsw ({key})".encode())
    adopted = adopt_shop(settings, BIGINT, column="Vec 1")
    with opened(adopted) as database:
        embed(adopted, database)
        column = serving_space(database)
        assert column.index == "theirs"
        [report] = build_indexes(database, column, adopted.index)
        assert report.build_seconds is None
        assert report.state.form(column).type == kind
        [report] = build_indexes(database, column, IndexConfig(type="vector"))
        assert (report.state.name, report.state.form(column).type) == ("theirs", "vector")
        undo_adoption(database, "notes")
    indexes = beside.execute("SELECT indexname FROM pg_indexes WHERE tablename = 'notes' ORDER BY 1").fetchall()
    assert indexes == [("notes_pkey",), ("theirs",)]


@pytest.mark.parametrize("kind", ["halfvec", "bit"])
def test_an_index_of_an_expression_in_any_table(settings: Settings, beside: psycopg.Connection, shop: Shop, kind: str):
    fill(beside, shop, 60)
    adopted = adopt_shop(settings, shop)
    with opened(adopted) as database:
        embed(adopted, database)
        column = serving_space(database)
        config = IndexConfig(type=kind)
        [report] = build_indexes(database, column, config)
        assert report.state.matches(column, config)
        # Which proves that the plan reads the index, or its parts.
        assert report.measurement.search.recall == 1.0
        assert build_indexes(database, column, config)[0].build_seconds is None
        rows = nearest_chunks(database, column, vector_of("text 7", 8), k=60, where=(), index=config)
        assert len(rows) == 60
        undo_adoption(database, shop.relation)


def test_a_text_that_is_called_distance_is_found(settings: Settings, beside: psycopg.Connection):
    beside.execute("CREATE TABLE items (id bigint PRIMARY KEY, distance text)")
    beside.execute("INSERT INTO items SELECT n, 'text ' || n FROM generate_series(1, 30) n")
    adopted = adopt_shop(settings, Shop("items", "", "", {"text": "distance"}, "", {}, ""))
    with opened(adopted) as database:
        embed(adopted, database)
        for kind in ("vector", "halfvec", "bit"):
            config = IndexConfig(type=kind)
            build_indexes(database, serving_space(database), config)
            rows = nearest_chunks(
                database, serving_space(database), vector_of("text 7", 8), k=1, where=(), index=config
            )
            assert rows[0][2] == "text 7"


def test_an_empty_column_for_long_vectors_is_taken_as_it_is(settings: Settings, beside: psycopg.Connection):
    fill(beside, BIGINT, 3)
    beside.execute("ALTER TABLE notes ADD COLUMN vec vector(3072)")
    adopted = adopt_shop(settings, BIGINT, column="vec")
    with opened(adopted) as database:
        column = register_space(database, replace(FAKE_SPACE, dimensions=3072))
        assert (column.name, column.storage) == ("vec", "vector")


def test_an_index_with_other_parameters_is_replaced_under_its_own_name(settings: Settings, beside: psycopg.Connection):
    fill(beside, BIGINT, 50)
    beside.execute("ALTER TABLE notes ADD COLUMN vec vector(8)")
    beside.execute("CREATE INDEX theirs ON notes USING hnsw (vec vector_cosine_ops) WITH (m = 4)")
    adopted = adopt_shop(settings, BIGINT, column="vec")
    with opened(adopted) as database:
        embed(adopted, database)
        column = serving_space(database)
        build_indexes(database, column, adopted.index)
        assert describe_index(database, "theirs").definition == ("hnsw", "vector_cosine_ops", 16, 64)


def test_how_long_rows_wait_is_known_by_the_last_run(settings: Settings, beside: psycopg.Connection):
    fill(beside, BIGINT, 5)
    adopted = adopt_shop(settings, BIGINT)
    with opened(adopted) as database:
        embed(adopted, database)
        column = serving_space(database)
        assert oldest_pending(database, column) is None
        beside.execute(BIGINT.edit)
        [finished] = beside.execute("SELECT max(finished_at) FROM embedding_assets_notes.embedding_runs").fetchone()
        assert oldest_pending(database, column) == finished
        beside.execute("UPDATE embedding_assets_notes.embedding_runs SET finished_at = now() - interval '50 h'")
        beside.execute("UPDATE embedding_assets_notes.embedding_spaces SET created_at = now() - interval '50 h'")
        [age] = [one for one in judge_embeddings(database, column, adopted) if one.name == "backlog_age"]
        assert not age.passed
        assert age.description.startswith("chunks are pending, and no run has ended for 50.0 h")


@pytest.mark.parametrize("step", ["create_records", "watch_texts", "Jsonb"])
def test_interrupted_anywhere_it_is_done_again(
    settings: Settings, beside: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, step: str
):
    fill(beside, BIGINT, 5)
    before = everything(beside, BIGINT)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"embedding_assets.postgres.adopting.{step}", interrupt)
        with pytest.raises(KeyboardInterrupt):
            adopt_shop(settings, BIGINT)
    assert everything(beside, BIGINT)[0] == before[0]
    beside.execute(BIGINT.edit)
    adopted = adopt_shop(settings, BIGINT)
    with opened(adopted) as database:
        assert embed(adopted, database).embedded == 5
        assert stale(database) == []

        with monkeypatch.context() as patch:
            patch.setattr("embedding_assets.postgres.adopting._drop_records", interrupt)
            with pytest.raises(KeyboardInterrupt):
                undo_adoption(database, "notes")
        undo_adoption(database, "notes")
    assert everything(beside, BIGINT)[1] == before[1]
