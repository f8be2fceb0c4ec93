"""The table whose rows are embedded, as an asset: its key, what is observed of it."""

import dagster as dg
import pytest

from embedding_assets.defs.factory import build_embedding_definitions
from embedding_assets_tests.support.components import WARNINGS, loaded, metadata_of, run_all
from embedding_assets_tests.support.fakes import insert_chunks
from embedding_assets_tests.support.shop import BIGINT, adopt_shop, fill


def test_the_table_is_upstream_where_nothing_else_is_known_to_be(settings, monkeypatch):
    def upstream(**options):
        graph = build_embedding_definitions(**options).resolve_asset_graph()
        [pending] = [key for key in graph.get_all_asset_keys() if key.path[-1] == "chunks_pending"]
        return {key.to_user_string() for key in graph.get(pending).parent_keys}

    assert upstream() == {"knowledge_base"}
    assert upstream(key_prefix="eu") == {"eu/knowledge_base"}
    assert upstream(table='shop."Our Notes"', key_prefix="eu") == {"shop/Our_Notes"}
    assert upstream(table="articles", deps=[dg.AssetKey("articles")]) == {"articles"}
    monkeypatch.setenv("EMBEDDING_DOCUMENTS", "/srv/docs")
    assert upstream() == {"documents"}


@pytest.mark.parametrize("how", [{"adopt": True}, {"text": "body"}, {"key": dg.EnvVar("KEY")}, {"where": "live"}])
def test_a_knowledge_base_of_somebody_s_is_theirs(how):
    defs = build_embedding_definitions("shop.knowledge_base", key_prefix="eu", **how)
    graph = defs.resolve_asset_graph()
    pending = graph.get(dg.AssetKey(["eu", "chunks_pending"]))
    assert {key.to_user_string() for key in pending.parent_keys} == {"shop/knowledge_base"}
    assert "columns_unchanged" in {key.name for key in pending.check_keys}


def test_a_knowledge_base_of_ours_may_be_named():
    defs = build_embedding_definitions("public.knowledge_base", key_prefix="eu")
    pending = defs.resolve_asset_graph().get(dg.AssetKey(["eu", "chunks_pending"]))
    assert {key.to_user_string() for key in pending.parent_keys} == {"eu/public/knowledge_base"}


@pytest.mark.parametrize(
    ("table", "name"),
    [('Shop."Our Notes"', "shop.Our Notes"), ("public.knowledge_base", "public.knowledge_base"), ("notes", None)],
)
def test_the_catalog_finds_it_before_the_first_run(table, name):
    graph = build_embedding_definitions(table).resolve_asset_graph()
    assert graph.get(dg.AssetKey("chunk_embeddings")).metadata.get("dagster/table_name") == name


@pytest.mark.parametrize("prefix", [[], ["search"]])
def test_an_asset_that_fills_the_table_takes_its_place_by_its_key(settings, prefix):
    @dg.asset(key=["shop", "articles"])
    def articles(): ...

    merged = dg.Definitions.merge(
        dg.Definitions(assets=[articles]), build_embedding_definitions("shop.articles", key_prefix=prefix),
    )  # fmt: skip

    graph = merged.resolve_asset_graph()
    assert graph.get(dg.AssetKey([*prefix, "chunks_pending"])).parent_keys == {articles.key}
    assert graph.get(articles.key).is_materializable


def test_what_was_seen_of_a_table_is_noted_on_its_asset_and_makes_it_no_newer(settings, beside, instance):
    """Seeing rows is not filling them."""

    @dg.asset(automation_condition=dg.AutomationCondition.newly_updated())
    def notes(): ...

    fill(beside, BIGINT, 5)
    adopt_shop(settings, BIGINT)
    embedding = build_embedding_definitions("notes", key_prefix="search")
    merged = dg.Definitions.merge(dg.Definitions(assets=[notes]), embedding)
    assert merged.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance, asset_selection=[dg.AssetKey(["search", "chunks_pending"])]
    ).success  # fmt: skip
    [seen] = instance.fetch_observations(notes.key, limit=5).records
    assert seen.asset_observation.metadata["dagster/row_count"].value == 5
    assert instance.get_latest_materialization_event(notes.key) is None
    asked = dg.evaluate_automation_conditions(merged, instance, asset_selection=dg.AssetSelection.assets(notes.key))
    assert asked.total_requested == 0


@pytest.mark.parametrize(("where", "said"), [(None, "is empty"), ("id > 10", "has no row to embed")])
def test_an_empty_table_is_called_by_its_name_and_described(settings, beside, instance, where, said):
    fill(beside, BIGINT, 3 if where else 0)
    adopt_shop(settings, BIGINT, where=where)
    result = run_all(build_embedding_definitions("notes"), "embed_chunks", instance)
    assert result.success
    for name in ("chunks_pending", "chunk_embeddings", "pgvector_index_health"):
        assert metadata_of(result, name)["chunks"] == 0
    shown = metadata_of(result, "chunk_embeddings")
    [seen] = [event for event in result.all_events if event.event_type_value == "ASSET_OBSERVATION"]
    observed = seen.asset_observation_data.asset_observation.metadata
    for metadata in (shown, {name: value.value for name, value in observed.items()}):
        assert metadata["dagster/row_count"] == 0
        assert metadata["dagster/table_name"].endswith(".public.notes")
        assert metadata["dagster/uri"].startswith("postgresql://")
        assert "lang" in [column.name for column in metadata["dagster/column_schema"].columns]
    verdicts = {check.description for check in result.get_asset_check_evaluations()}
    assert f"public.notes {said}" in verdicts
    logged = [entry.user_message for entry in instance.all_logs(result.run_id) if entry.dagster_event is None]
    assert logged.count(f"public.notes {said}") == 3
    assert "knowledge_base" not in str([*verdicts, *logged])


class TestANameFromAVariable:
    """As ``table: "{{ env.SHOP_TABLE }}"`` in a component, whose definitions are loaded with or without it."""

    pytestmark = WARNINGS

    TEXT = """
        type: embedding_assets.EmbeddedTable
        attributes: {key_prefix: shop, table: "{{ env.SHOP_TABLE }}", text: body, adopt: true}
    """

    def parents_and_checks(self) -> tuple[set[str], set[str]]:
        """Of ``chunks_pending``."""
        with loaded(self.TEXT) as (_, defs):
            graph = defs.resolve_asset_graph()
        pending = graph.get(dg.AssetKey(["shop", "chunks_pending"]))
        assert dg.AssetKey(["shop", "knowledge_base"]) not in graph.get_all_asset_keys()
        return {key.to_user_string() for key in pending.parent_keys}, {key.name for key in pending.check_keys}

    def test_is_known_if_it_is_set(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("SHOP_TABLE", "shop.notes")
        assert self.parents_and_checks() == ({"shop/notes"}, {"columns_unchanged"})

    def test_is_not_knowledge_base_while_it_is_not_set(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("EMBEDDING_TABLE", "of_another_project")
        monkeypatch.setenv("EMBEDDING_DOCUMENTS", "/srv/handbook")
        assert self.parents_and_checks() == (set(), {"columns_unchanged"})

    def test_that_turns_out_to_be_knowledge_base_needs_no_look_at_columns(
        self, settings, database, instance, monkeypatch: pytest.MonkeyPatch
    ):
        insert_chunks(database, ["one text"])
        with loaded(self.TEXT.replace("text: body, adopt: true", "")) as (_, defs):
            monkeypatch.setenv("SHOP_TABLE", "knowledge_base")
            result = run_all(defs, "shop__embed_chunks", instance)
        assert result.success
        [check] = [one for one in result.get_asset_check_evaluations() if one.check_name == "columns_unchanged"]
        assert check.passed
        assert check.description == "knowledge_base is made by embedding-assets itself"
