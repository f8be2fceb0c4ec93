"""Rows of a query or a table as chunks: kept in step by an asset of their own."""

from collections.abc import Callable
from datetime import UTC, datetime

import dagster as dg
import psycopg
import pytest

from embedding_assets import EmbeddedQuery, RowSource, build_embedding_definitions
from embedding_assets.errors import ConfigurationError
from embedding_assets.postgres.connection import Database
from embedding_assets_tests.support.components import WARNINGS, first_error, loaded, metadata_of, run_all
from embedding_assets_tests.support.syncing import chunks

pytestmark = WARNINGS

REVIEWS = """
    type: embedding_assets.EmbeddedQuery
    attributes:
      key_prefix: reviews
      name: reviews
      query: |
        SELECT r.id AS key, r.body AS text, a.title, r.stars
        FROM shop.reviews r JOIN shop.articles a ON a.id = r.article
"""
JOB = "reviews__embed_chunks"
ROWS = dg.AssetKey(["reviews", "synced_rows"])
SOURCE = dg.AssetKey(["shop", "reviews"])


@pytest.fixture
def shop(beside: psycopg.Connection) -> psycopg.Connection:
    """A connection to a database with two tables, of which a query makes documents."""
    beside.execute("""
        CREATE SCHEMA shop;
        CREATE TABLE shop.articles (id bigint PRIMARY KEY, title text);
        CREATE TABLE shop.reviews (id bigint PRIMARY KEY, article bigint, stars integer, body text);
        INSERT INTO shop.articles VALUES (1, 'Pump');
        INSERT INTO shop.reviews VALUES (1, 1, 5, 'It pumps.'), (2, 1, 1, 'It leaks.'), (3, 1, 2, ' ');
    """)
    return beside


@pytest.mark.usefixtures("settings")
class TestAQuery:
    def test_is_embedded_and_kept_in_step(
        self, shop: psycopg.Connection, database: Database, instance: dg.DagsterInstance
    ):
        with loaded(REVIEWS) as (_, defs):
            first = run_all(defs, JOB, instance)
            assert first.success
            assert chunks(database) == [("reviews/1", "It pumps.", True), ("reviews/2", "It leaks.", True)]
            shop.execute("UPDATE shop.reviews SET body = 'It leaks badly.' WHERE id = 2")
            shop.execute("DELETE FROM shop.reviews WHERE id = 1")
            second = run_all(defs, JOB, instance)
            assert second.success
        assert chunks(database) == [("reviews/2", "It leaks badly.", True)]
        metadata = metadata_of(first, "reviews__synced_rows")
        assert (metadata["rows_compared"], metadata["new"], metadata["rejected"]) == (3, 2, 1)
        [rejection] = (
            metadata["rejections"].records if hasattr(metadata["rejections"], "records") else metadata["rejections"]
        )
        assert rejection.data == {"row": "reviews/3", "reason": "has an empty or blank text"}
        metadata = metadata_of(second, "reviews__synced_rows")
        assert (metadata["changed"], metadata["removed"]) == (1, 1)
        assert metadata_of(second, "reviews__chunk_embeddings")["run_embedded"] == 1
        recorded = "".join(str(event) for event in instance.all_logs(first.run_id))
        assert "It leaks" not in recorded

    def test_a_new_definition_holds_from_the_next_run_on(
        self, shop: psycopg.Connection, database: Database, instance: dg.DagsterInstance
    ):
        with loaded(REVIEWS) as (_, defs):
            assert run_all(defs, JOB, instance).success
        with loaded(f"{REVIEWS}        WHERE stars > 3\n") as (_, defs):
            assert run_all(defs, JOB, instance).success
        assert [origin for origin, *_ in chunks(database)] == ["reviews/1"]

    @pytest.mark.parametrize(
        ("query", "message"),
        [
            ("SELECT id, body AS text FROM shop.reviews", "query: it has no column key; name them, with AS key"),
            ("SELEC 1", "query is not one SELECT that only reads: syntax error"),
            ("DELETE FROM shop.reviews", "query is not one SELECT that only reads"),
        ],
    )
    def test_a_wrong_one_fails_in_words(
        self, shop: psycopg.Connection, instance: dg.DagsterInstance, query: str, message: str
    ):
        defs = build_embedding_definitions(key_prefix="reviews", rows=RowSource(name="reviews", query=query))
        result = run_all(defs, JOB, instance)
        assert not result.success
        assert message in first_error(result)
        assert "--" not in first_error(result).splitlines()[0]


@pytest.mark.usefixtures("settings")
def test_a_table_that_an_asset_fills(
    shop: psycopg.Connection,
    database: Database,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("WHICH", "stars < 5")
    text = """
        type: embedding_assets.EmbeddedQuery
        attributes:
          key_prefix: reviews
          table: shop.reviews
          text: "{body} ({stars})"
          metadata: [stars, article]
          where: "{{ env.WHICH }}"
          deps: shop/reviews
    """
    with loaded(text) as (_, defs):
        graph = defs.resolve_asset_graph()
        assert graph.get(ROWS).parent_keys == {SOURCE}
        assert graph.get(dg.AssetKey(["reviews", "chunks_pending"])).parent_keys == {ROWS}
        assert run_all(defs, JOB, instance).success
    assert [text for _, text, _ in chunks(database)] == ["It leaks. (1)", "  (2)"]
    found = shop.execute("SELECT document_metadata ->> 'stars' FROM knowledge_base ORDER BY 1").fetchall()
    assert found == [("1",), ("2",)]


def test_a_table_of_the_environment_is_not_meant(
    shop: psycopg.Connection,
    database: Database,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("EMBEDDING_TABLE", "shop.articles")
    with loaded(REVIEWS) as (_, defs):
        assert run_all(defs, JOB, instance).success
        checks = {check.name for check in defs.resolve_asset_graph().asset_check_keys}
    assert len(chunks(database)) == 2
    assert "columns_unchanged" not in checks


@pytest.mark.usefixtures("settings")
class TestSeveralSources:
    """Of one ``knowledge_base``, each with an asset of its own."""

    TEXT = """
        type: embedding_assets.EmbeddedQuery
        attributes:
          key_prefix: shop
          deps: shop/reviews
          sources:
            - {name: reviews, query: "SELECT id AS key, body AS text FROM shop.reviews", every: "0 4 * * *"}
            - {table: shop.articles, text: title}
    """

    def test_are_kept_in_step_side_by_side(
        self, shop: psycopg.Connection, database: Database, instance: dg.DagsterInstance
    ):
        with loaded(self.TEXT) as (_, defs):
            graph = defs.resolve_asset_graph()
            assert {key.to_user_string() for key in graph.get(dg.AssetKey(["shop", "chunks_pending"])).parent_keys} == {
                "shop/synced_rows_reviews",
                "shop/synced_rows_shop_articles",
            }
            first = run_all(defs, "shop__embed_chunks", instance)
            assert first.success
            before = ["reviews/1", "reviews/2", "shop.articles/1"]
            assert [(origin, embedded) for origin, _, embedded in chunks(database)] == [(one, True) for one in before]
            shop.execute("DELETE FROM shop.articles")
            second = run_all(defs, "shop__embed_chunks", instance)
            assert second.success
        assert [origin for origin, *_ in chunks(database)] == before[:2]
        assert metadata_of(second, "shop__synced_rows_reviews")["removed"] == 0
        assert metadata_of(second, "shop__synced_rows_shop_articles")["removed"] == 1

    def test_are_called_by_letters_that_dagster_takes(self):
        sources = [RowSource(name="größe", query="SELECT"), RowSource(table="shop.articles", text="title")]
        keys = build_embedding_definitions(rows=sources).resolve_asset_graph().get_all_asset_keys()
        assert dg.AssetKey("synced_rows_gr_e") in keys

    def test_have_one_sensor(self):
        with loaded(self.TEXT) as (_, defs):
            sensors = [one for one in defs.get_repository_def().sensor_defs if one.name == "shop__rows_sensor"]
            graph = defs.resolve_asset_graph()
        [sensor] = sensors
        assert {key.path[-1] for key in sensor.asset_selection.resolve(graph)} == {
            "synced_rows_reviews",
            "synced_rows_shop_articles",
        }

    @pytest.mark.parametrize(
        ("attributes", "message"),
        [
            (
                {"sources": [{"table": "a.b", "text": "c"}, {"table": "a_b", "text": "c"}]},
                "two sources are called a_b; make one of them a query with a name",
            ),
            (
                {"sources": [{"name": "a_b", "query": "SELECT"}, {"table": "a.b", "text": "c"}]},
                "two sources are called a_b; give one of them another name",
            ),
            (
                {"sources": [{"name": "---", "query": "SELECT"}, {"table": "b", "text": "c"}]},
                "rows: '---' has no letter or digit",
            ),
            (
                {"sources": [{"table": "{{ env.X }}", "text": "c"}, {"table": "b", "text": "c"}]},
                "rows: assets of several sources are called by the names",
            ),
            ({"sources": [{"table": "a", "text": "c"}], "every": "0 1 * * *"}, "leave every out beside them"),
            ({"sources": [{"table": "a"}]}, "text: say which column"),
        ],
    )
    def test_that_cannot_be_are_refused(self, attributes: dict[str, object], message: str):
        component = EmbeddedQuery.from_attributes_dict(attributes=attributes)
        with pytest.raises(ConfigurationError, match=message):
            dg.components.testing.utils.component_defs(component=component)


class TestAutomation:
    @pytest.fixture
    def tick(self, instance: dg.DagsterInstance) -> Callable[[dg.Definitions], int]:
        """Evaluate the condition once; how often the rows are asked for."""
        cursors = [None]

        def evaluate(defs: dg.Definitions) -> int:
            result = dg.evaluate_automation_conditions(
                defs, instance, asset_selection=dg.AssetSelection.assets(ROWS), cursor=cursors[-1]
            )
            cursors.append(result.cursor)
            return result.total_requested

        return evaluate

    def test_rows_are_compared_once_what_is_upstream_was_materialized(
        self, tick: Callable, instance: dg.DagsterInstance
    ):
        rows = RowSource(table="shop.reviews", text="body")
        defs = build_embedding_definitions(key_prefix="reviews", rows=rows, deps=[SOURCE])
        assert tick(defs) == 0
        instance.report_runless_asset_event(dg.AssetMaterialization(SOURCE))
        assert tick(defs) == 1
        assert tick(defs) == 0

    def test_rows_are_compared_at_their_times(self, instance: dg.DagsterInstance):
        source = RowSource(name="reviews", query="SELECT 1", every="*/15 * * * *")
        defs = build_embedding_definitions(key_prefix="reviews", rows=source)
        asked, cursor = [], None
        for minute in (7, 14, 16, 17, 31):
            result = dg.evaluate_automation_conditions(
                defs,
                instance,
                asset_selection=dg.AssetSelection.assets(ROWS),
                evaluation_time=datetime(2026, 1, 1, 12, minute, tzinfo=UTC),
                cursor=cursor,
            )
            asked.append(result.total_requested)
            cursor = result.cursor
        assert asked == [0, 0, 1, 0, 1]

    def test_a_comparison_alone_asks_for_no_run_over_the_vectors(self):
        rows = RowSource(table="shop.reviews", text="body")
        defs = build_embedding_definitions(key_prefix="reviews", rows=rows, deps=[SOURCE])
        embeddings = defs.resolve_asset_graph().get(dg.AssetKey(["reviews", "chunk_embeddings"]))
        assert embeddings.automation_condition is None
        sensors = {one.name for one in defs.get_repository_def().sensor_defs}
        assert {"reviews__new_chunks_sensor", "reviews__rows_sensor"} <= sensors
        assert "reviews__upstream_sensor" not in sensors

    @pytest.mark.parametrize(
        ("rows", "arguments", "expected"),
        [
            ({"every": "*/15 * * * *"}, {}, True),
            ({}, {"deps": [SOURCE]}, True),
            ({}, {}, False),
            ({"every": "*/15 * * * *"}, {"sensors": False}, True),
            ({}, {"deps": [SOURCE], "sensors": False}, False),
        ],
    )
    def test_without_a_cause_there_is_no_sensor(
        self, rows: dict[str, str], arguments: dict[str, object], expected: bool
    ):
        source = RowSource(name="reviews", query="SELECT 1", **rows)
        defs = build_embedding_definitions(key_prefix="reviews", rows=source, **arguments)
        assert defs.get_repository_def().has_sensor_def("reviews__rows_sensor") is expected
        condition = defs.resolve_asset_graph().get(ROWS).automation_condition
        assert (condition is not None) is expected

    def test_without_sensors_the_times_hold_and_nothing_is_followed(self, instance: dg.DagsterInstance, tick: Callable):
        rows = RowSource(name="reviews", query="SELECT 1", every="0 0 1 1 *")
        defs = build_embedding_definitions(key_prefix="reviews", rows=rows, deps=[SOURCE], sensors=False)
        assert tick(defs) == 0
        instance.report_runless_asset_event(dg.AssetMaterialization(SOURCE))
        assert tick(defs) == 0

    def test_a_wrong_time_is_refused(self):
        source = RowSource(name="reviews", query="SELECT 1", every="often")
        with pytest.raises(Exception, match="often"):
            build_embedding_definitions(key_prefix="reviews", rows=source)


@pytest.mark.parametrize(
    ("rows", "arguments", "message"),
    [
        ({}, {}, "say where the rows are from: either `table` or `query`"),
        ({"table": "a", "query": "b"}, {}, "either `table` or `query`"),
        ({"query": "SELECT 1"}, {}, "name: a `query` needs one"),
        (
            {"query": "SELECT 1", "name": "a", "text": "body", "where": "b"},
            {},
            "text, where: a query says by the names",
        ),
        ({"table": "a"}, {}, "text: say which column"),
        ({"table": "a", "text": "b", "name": "c"}, {}, "name: it is for a `query` alone"),
        ({"table": "a", "text": "b"}, {"table": "c"}, "their chunks go into knowledge_base, so leave `table` out"),
    ],
)
def test_what_is_said_has_to_go_together(rows: dict[str, str], arguments: dict[str, str], message: str):
    with pytest.raises(ConfigurationError, match=message):
        build_embedding_definitions(key_prefix="reviews", rows=RowSource(**rows), **arguments)
