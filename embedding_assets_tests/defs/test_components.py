"""Components: what their fields do, when variables are read, and what is said of wrong ones."""

import inspect
import json
import traceback
from pathlib import Path

import dagster as dg
import psycopg
import pytest
import yaml
from dagster.components.component_scaffolding import scaffold_object
from dagster.components.testing import create_defs_folder_sandbox
from pydantic import ValidationError

from embedding_assets import EmbeddedQuery, EmbeddedTable, build_embedding_definitions
from embedding_assets.defs.components.component import Automation, Budget
from embedding_assets.errors import ConfigurationError
from embedding_assets_tests.support.components import WARNINGS, loaded, metadata_of, run_all
from embedding_assets_tests.support.shop import BIGINT, fill
from embedding_assets_tests.support.tiny_model import DIMENSIONS, save_tiny_model

pytestmark = WARNINGS

NOTES = """
    type: embedding_assets.EmbeddedTable
    attributes:
      key_prefix: shop/notes
      database_url: "{{ env.SHOP_URL }}"
      table: "{{ env('SHOP_TABLE') }}"
      text: "{title}: {body}"
      key: [id]
      where: id > 1
      metadata: price
      adopt: true
      provider: local
      model: "{{env.SHOP_MODEL}}"
      settings:
        EMBEDDING_DIMENSIONS: "{{ env.SHOP_DIMENSIONS }}"
        EMBEDDING_OPENAI_API_KEY: "{{ env.SHOP_KEY }}"
"""


class TestVariables:
    def test_are_read_when_a_run_needs_them(
        self,
        database_url: str,
        beside: psycopg.Connection,
        instance: dg.DagsterInstance,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ):
        fill(beside, BIGINT, 5)
        with loaded(NOTES) as (component, defs):
            dg.Definitions.validate_loadable(defs)
            before = run_all(defs, "shop__notes__embed_chunks", instance)
            assert not before.success
            monkeypatch.setenv("SHOP_URL", database_url)
            monkeypatch.setenv("SHOP_TABLE", "notes")
            monkeypatch.setenv("SHOP_MODEL", str(save_tiny_model(tmp_path / "tiny")))
            monkeypatch.setenv("SHOP_DIMENSIONS", str(DIMENSIONS))
            monkeypatch.setenv("SHOP_KEY", "sk-hunter2")
            result = run_all(defs, "shop__notes__embed_chunks", instance)
            assert result.success
            assert "hunter2" not in repr(component)
        assert metadata_of(result, "shop__notes__chunks_pending")["pending"] == 4
        query = "SELECT count(*), max(vector_dims(embedding)), min(id) FROM notes WHERE embedding IS NOT NULL"
        assert beside.execute(query).fetchone() == (4, DIMENSIONS, 2)
        recorded = "".join(str(event) for event in instance.all_logs(result.run_id))
        assert "hunter2" not in recorded
        assert database_url not in recorded

    def test_one_that_is_not_set_is_named(self, instance: dg.DagsterInstance):
        with loaded(NOTES) as (_, defs):
            result = run_all(defs, "shop__notes__embed_chunks", instance)
        failure = result.failure_data_for_node("shop__notes__chunks_pending")
        assert "is to come from SHOP_" in failure.error.to_string()
        assert "which is not set; set it" in failure.error.to_string()
        assert "here set by the definitions of shop/notes" in failure.error.to_string()

    def test_beside_one_there_is_nothing(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("SHOP_PASSWORD", "hunter2")
        text = NOTES.replace("{{ env.SHOP_URL }}", "postgresql://shop:{{ env.SHOP_PASSWORD }}@db/shop")
        with pytest.raises(Exception, match="Error while loading component articles") as raised, loaded(text):
            pass
        said = "".join(traceback.format_exception(raised.value))
        assert "put the whole value into that variable" in said
        assert "defs.yaml:5" in said
        assert "hunter2" not in said

    def test_of_what_definitions_are_made_from_are_read_at_once(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("SHOP_PREFIX", "shop")
        monkeypatch.setenv("SHOP_TIER", "2")
        text = """
            type: embedding_assets.EmbeddedTable
            attributes:
              key_prefix: ["{{ env.SHOP_PREFIX }}", "7"]
              table: notes
              tags: {tier: "1", also: "{{ env('SHOP_TIER') }}x", alone: "{{ env.SHOP_TIER }}"}
        """
        with loaded(text) as (component, defs):
            key = dg.AssetKey(["shop", "7", "chunk_embeddings"])
            tags = defs.resolve_asset_graph().get(key).tags
        assert component.key_prefix == ["shop", "7"]
        assert (tags["tier"], tags["also"], tags["alone"]) == ("1", "2x", "2")

    @pytest.mark.parametrize(
        "field", ["automation: {schedule: '{{ env.NOT_SET }}'}", "group: search_{{ env.NOT_SET }}"]
    )
    def test_of_those_one_that_is_not_set_is_named(self, field: str):
        text = f"type: embedding_assets.EmbeddedTable\nattributes:\n  {field}\n"
        with pytest.raises(Exception, match="Error while loading component articles") as raised, loaded(text):
            pass
        said = "".join(traceback.format_exception(raised.value))
        assert "NOT_SET: not set, and read while definitions are loaded; set it" in said
        assert "defs.yaml:3" in said

    def test_in_python_too(self):
        component = EmbeddedTable(
            table=dg.EnvVar("SHOP_TABLE"), key=[dg.EnvVar("SHOP_ID")], database_url=dg.EnvVar("SHOP_URL")
        )
        assert component.table.env_var_name == "SHOP_TABLE"
        assert component.key[0].env_var_name == "SHOP_ID"
        assert component.database_url.env_var_name == "SHOP_URL"


class TestSecrets:
    def test_are_not_shown(self):
        component = EmbeddedTable(
            table="notes",
            database_url="postgresql://shop:hunter2@db/shop",
            settings={"EMBEDDING_OPENAI_API_KEY": "hunter2"},
        )
        assert "hunter2" not in repr(component)
        assert "hunter2" not in str(component)
        assert "notes" in repr(component)

    @pytest.mark.parametrize(
        "given", [{"database_url": {"url": "hunter2"}}, {"settings": ["hunter2"]}, {"databse_url": "hunter2"}]
    )
    def test_nor_quoted_in_errors(self, given: dict[str, object]):
        with pytest.raises(ValidationError) as raised:
            EmbeddedTable(table="notes", **given)
        assert "hunter2" not in str(raised.value)


def test_all_that_the_factory_takes_is_there():
    fields = {*EmbeddedTable.model_fields, *EmbeddedQuery.model_fields, *Automation.model_fields}
    words = {"group_name": "group", "model": "model_name", "rows": "query"}
    taken = {words.get(name, name) for name in inspect.signature(build_embedding_definitions).parameters}
    assert taken <= fields


@pytest.mark.parametrize("kind", [EmbeddedTable, EmbeddedQuery, Budget, Automation])
def test_all_fields_are_described(kind: type):
    schema = kind.model().model_json_schema()
    undescribed = [name for name, field in schema["properties"].items() if len(field.get("description", "")) < 10]
    assert undescribed == []


def test_what_is_said_reaches_the_definitions():
    text = """
        type: embedding_assets.EmbeddedTable
        attributes:
          key_prefix: shop
          table: notes
          partitions: 256
          group: search
          owners: [team:search]
          deps: [shop/articles]
          budget: {usd_per_day: 2.5, alert_share: 0.5}
          settings: {EMBEDDING_RUN_TAGS: {team: search}}
          automation: {schedule: null, sensors: false, keep_runs_days: 90}
    """
    with loaded(text) as (component, defs):
        graph = defs.resolve_asset_graph()
        node = graph.get(dg.AssetKey(["shop", "chunk_embeddings"]))
        pending = graph.get(dg.AssetKey(["shop", "chunks_pending"]))
        repository = defs.get_repository_def()
        tags = defs.resolve_job_def("shop__embed_chunks").tags
    assert (node.group_name, node.owners) == ("search", ["team:search"])
    assert len(node.partitions_def.get_partition_keys()) == 256
    assert pending.parent_keys == {dg.AssetKey(["shop", "articles"])}
    assert {one.name for one in repository.sensor_defs} == {"shop__failed_runs_sensor", "shop__failed_checks_sensor"}
    assert [one.name for one in repository.schedule_defs] == ["shop__purge_schedule"]
    assert tags["team"] == "search"
    assert component.budget.variables() == {"EMBEDDING_BUDGET_USD_PER_DAY": 2.5, "EMBEDDING_BUDGET_ALERT_SHARE": 0.5}


@pytest.mark.usefixtures("settings")
def test_documents_are_those_of_the_project(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EMBEDDING_TABLE", "of_another_project")
    text = """
        type: embedding_assets.EmbeddedTable
        attributes:
          key_prefix: handbook
          documents: guide.md
    """
    with loaded(text, guide_md="# Keys\n\nKeys are rotated every ninety days.\n") as (_, defs):
        result = run_all(defs, "handbook__embed_chunks", instance)
    assert result.success
    assert metadata_of(result, "handbook__documents")["new"] == 1
    assert metadata_of(result, "handbook__chunk_embeddings")["run_embedded"] == 1


def test_a_table_has_none_of_the_documents_of_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EMBEDDING_DOCUMENTS", "/srv/handbook")
    with loaded("type: embedding_assets.EmbeddedTable\nattributes: {table: notes, key_prefix: shop}") as (_, defs):
        keys = defs.resolve_asset_graph().get_all_asset_keys()
    assert dg.AssetKey(["shop", "documents"]) not in keys
    with loaded("type: embedding_assets.EmbeddedTable\nattributes: {}") as (_, defs):
        assert dg.AssetKey("documents") in defs.resolve_asset_graph().get_all_asset_keys()


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"documents": ["docs"], "table": "notes"}, "documents: they go into knowledge_base, so leave `table` out"),
        (
            {"budget": {"usd_per_day": 1}, "settings": {"EMBEDDING_BUDGET_USD_PER_DAY": 2}},
            "EMBEDDING_BUDGET_USD_PER_DAY: given twice, in `budget` and in `settings`",
        ),
        ({"settings": {"EMBEDDING_INDEX_M": "x"}}, "EMBEDDING_INDEX_M: .*integer"),
        ({"budget": {"usd_per_day": "cheap"}}, "EMBEDDING_BUDGET_USD_PER_DAY: .*decimal"),
        ({"model": "small"}, "model: say whose it is, too, by provider"),
    ],
)
def test_what_does_not_go_together_is_named(attributes: dict[str, object], message: str):
    component = EmbeddedTable.from_attributes_dict(attributes=attributes)
    with pytest.raises(ConfigurationError, match=message):
        dg.components.testing.utils.component_defs(component=component)


def test_the_schema_is_json(tmp_path: Path):
    for kind in (EmbeddedTable, EmbeddedQuery):
        schema = json.loads(json.dumps(kind.get_model_cls().model_json_schema()))
        assert schema["properties"]["model"]["description"].startswith("The provider's model")


def test_one_more_component_in_a_file_has_a_prefix_of_its_own(tmp_path: Path):
    folder = tmp_path / "articles"
    scaffold_object(folder, "embedding_assets.EmbeddedTable", None, "yaml", None)
    file = folder / "defs.yaml"
    parameters = json.dumps({"table": "shop.reviews", "text": "remark"})
    scaffold_object(file, "embedding_assets.EmbeddedQuery", parameters, "yaml", None, append=True)
    first, second = yaml.safe_load_all(file.read_text())
    assert first["attributes"] == {"key_prefix": "articles", "table": "articles", "text": "body"}
    assert second["attributes"]["key_prefix"] == "articles_2"
    assert (second["attributes"]["table"], second["attributes"]["text"]) == ("shop.reviews", "remark")


def test_assets_refer_to_the_file_of_the_component():
    with create_defs_folder_sandbox() as sandbox:
        path = sandbox.defs_folder_path / "articles" / "defs.yaml"
        path.parent.mkdir()
        path.write_text("type: embedding_assets.EmbeddedTable\nattributes:\n  table: notes\n  key_prefix: shop\n")
        with sandbox.build_all_defs() as defs:
            specs = [spec for one in defs.assets if isinstance(one, dg.AssetsDefinition) for spec in one.specs]
    assert len(specs) >= 3
    for spec in specs:
        [reference] = spec.metadata["dagster/code_references"].code_references
        assert reference.source == f"{path}:1"
