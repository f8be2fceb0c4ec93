"""The table whose rows are embedded, as an asset: its key, what is observed of it."""

import dagster as dg
import pytest

from embedding_assets.defs.factory import build_embedding_definitions
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

    @dg.asset
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
    condition = dg.AutomationCondition.newly_updated()
    watched = merged.map_asset_specs(func=lambda spec: spec.replace_attributes(automation_condition=condition),
                                     selection=[notes.key])  # fmt: skip
    asked = dg.evaluate_automation_conditions(watched, instance, asset_selection=dg.AssetSelection.all())
    assert asked.total_requested == 0
