"""chunk_embeddings follows the assets that fill the table."""

from collections.abc import Callable

import dagster as dg
import pytest

from embedding_assets.defs.factory import build_embedding_definitions
from embedding_assets.planning import all_prefixes

EMBEDDINGS = dg.AssetKey(["shop", "chunk_embeddings"])
SOURCE = dg.AssetKey("articles")


@dg.asset(key=SOURCE)
def articles() -> None:
    """Rows of the table."""


@pytest.fixture(params=["in this project", "elsewhere"])
def defs(request: pytest.FixtureRequest) -> dg.Definitions:
    """The definitions of a table that an asset fills, which is one of the same project or known by its key alone."""
    own = dg.Definitions(assets=[articles] if request.param == "in this project" else [])
    return dg.Definitions.merge(own, build_embedding_definitions("articles", key_prefix="shop", deps=[SOURCE]))


@pytest.fixture
def tick(defs: dg.Definitions, instance: dg.DagsterInstance) -> Callable[[], set[str]]:
    """Evaluate the condition once; the partitions that are asked for."""
    cursors = [None]

    def evaluate() -> set[str]:
        result = dg.evaluate_automation_conditions(
            defs, instance, asset_selection=dg.AssetSelection.assets(EMBEDDINGS), cursor=cursors[-1]
        )
        cursors.append(result.cursor)
        return set(result.get_requested_partitions(EMBEDDINGS))

    return evaluate


def embedded(instance: dg.DagsterInstance, partitions: list[str]) -> None:
    for partition in partitions:
        instance.report_runless_asset_event(dg.AssetMaterialization(EMBEDDINGS, partition=partition))


def test_all_partitions_are_asked_for_once_after_each_update(
    tick: Callable[[], set[str]], instance: dg.DagsterInstance
):
    assert tick() == set(), "nothing was materialized yet"
    instance.report_runless_asset_event(dg.AssetMaterialization(SOURCE))
    assert tick() == set(all_prefixes(1))
    assert tick() == set()
    embedded(instance, all_prefixes(1))
    assert tick() == set()
    instance.report_runless_asset_event(dg.AssetMaterialization(SOURCE))
    assert tick() == set(all_prefixes(1))


def test_what_another_run_has_embedded_since_is_left_out(tick: Callable[[], set[str]], instance: dg.DagsterInstance):
    tick()
    instance.report_runless_asset_event(dg.AssetMaterialization(SOURCE))
    embedded(instance, ["0", "1"])
    assert tick() == set(all_prefixes(1)) - {"0", "1"}


def test_the_sensor_makes_one_run_of_it(defs: dg.Definitions):
    sensor = defs.get_repository_def().get_sensor_def("shop__upstream_sensor")
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    assert sensor.emit_backfills
    node = defs.resolve_asset_graph().get(EMBEDDINGS)
    assert node.backfill_policy == dg.BackfillPolicy.single_run()
    assert node.automation_condition.get_label() == "follows_upstream"


@pytest.mark.parametrize("arguments", [{}, {"deps": [SOURCE], "sensors": False}], ids=["no upstream", "no sensors"])
def test_without_it_nothing_follows(arguments: dict[str, object]):
    defs = build_embedding_definitions("articles", key_prefix="shop", **arguments)
    assert defs.resolve_asset_graph().get(EMBEDDINGS).automation_condition is None
    assert not defs.get_repository_def().has_sensor_def("shop__upstream_sensor")
