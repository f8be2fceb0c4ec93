"""What the definitions of a table are made from: its settings, its database, what a step does to its process."""

import os
import subprocess
import sys

import dagster as dg
import psycopg
import pytest
from dagster import DagsterRunStatus
from dagster._core.definitions.sensor_definition import SensorExecutionData

from embedding_assets.config import Settings
from embedding_assets.defs.factory import build_embedding_definitions
from embedding_assets.defs.table_spec import TableSpec
from embedding_assets.errors import ConfigurationError, TableNotAdoptedError
from embedding_assets_tests.support.components import first_error, metadata_of, run_all
from embedding_assets_tests.support.sensor_ticks import add_run
from embedding_assets_tests.support.shop import BIGINT, fill

SECRET = "postgresql://shop:hunter2@db.example.com/shop"


def test_a_variable_is_read_when_it_is_needed(monkeypatch: pytest.MonkeyPatch):
    spec = TableSpec(
        variables={"EMBEDDING_DATABASE_URL": dg.EnvVar("SHOP_URL"), "EMBEDDING_INDEX_M": dg.EnvVar.int("M")}
    )
    assert spec.settings_when_loaded().database.url is None
    with pytest.raises(ConfigurationError) as raised:
        spec.settings()
    assert str(raised.value).startswith("EMBEDDING_DATABASE_URL is to come from SHOP_URL, which is not set; set it")
    monkeypatch.setenv("SHOP_URL", SECRET)
    monkeypatch.setenv("M", "24")
    settings = spec.settings()
    assert settings.database.url.get_secret_value() == SECRET
    assert settings.index.m == 24


def test_settings_are_read_once_for_all_definitions_and_again_in_another_environment(monkeypatch: pytest.MonkeyPatch):
    spec = TableSpec()
    loaded = spec.settings_when_loaded()

    assert spec.settings_when_loaded() is loaded
    monkeypatch.setenv("EMBEDDING_PREFIX_LENGTH", "2")
    assert spec.settings_when_loaded().embedding.prefix_length == 2


def test_a_list_and_a_mapping_may_have_variables(monkeypatch: pytest.MonkeyPatch):
    spec = TableSpec(
        variables={
            "EMBEDDING_TABLE_KEY": ["shop", dg.EnvVar("SHOP_KEY")],
            "EMBEDDING_OPENAI_HEADERS": {"api-key": dg.EnvVar("SHOP_API_KEY")},
        }
    )
    assert spec.settings_when_loaded().openai.headers == {}
    with pytest.raises(ConfigurationError, match="EMBEDDING_TABLE_KEY is to come from SHOP_KEY, which is not set"):
        spec.settings()
    monkeypatch.setenv("SHOP_KEY", "id")
    monkeypatch.setenv("SHOP_API_KEY", "hunter2")
    settings = spec.settings()
    assert settings.source.key == ("shop", "id")
    assert settings.openai.headers["api-key"].get_secret_value() == "hunter2"


def test_it_shows_no_secret():
    spec = TableSpec(key_prefix=("shop",), variables={"EMBEDDING_DATABASE_URL": SECRET})
    assert "hunter2" not in repr(spec)
    assert "shop" in repr(spec)


def test_errors_name_the_definitions(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("M", "many")
    spec = TableSpec(key_prefix=("shop", "articles"), variables={"EMBEDDING_INDEX_M": dg.EnvVar("M")})
    with pytest.raises(ConfigurationError, match=r"EMBEDDING_INDEX_M: (.|\n)*in the definitions of shop/articles"):
        spec.settings()


def all_of(connection: psycopg.Connection) -> list[object]:
    """Columns, triggers and schemas of the database."""
    return connection.execute("""
        SELECT 'column', attrelid::regclass || '.' || attname FROM pg_attribute WHERE attrelid = 'notes'::regclass
        UNION ALL SELECT 'trigger', tgname FROM pg_trigger WHERE tgrelid = 'notes'::regclass
        UNION ALL SELECT 'schema', nspname FROM pg_namespace WHERE nspname !~ '^pg_' ORDER BY 1, 2
    """).fetchall()


def tick(defs: dg.Definitions, instance: dg.DagsterInstance, cursor: str | None = None) -> SensorExecutionData:
    """One of the sensor on new chunks."""
    sensor = defs.get_repository_def().get_sensor_def("new_chunks_sensor")
    with dg.build_sensor_context(instance=instance, resources=defs.resources, cursor=cursor) as context:
        return sensor.evaluate_tick(context)


def count(defs: dg.Definitions, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    """Materialize chunks_pending alone."""
    return defs.resolve_job_def("embed_chunks").execute_in_process(
        instance=instance, asset_selection=[dg.AssetKey("chunks_pending")], raise_on_error=False
    )


class TestAdopting:
    def test_is_left_to_the_command_unless_it_is_said(
        self, settings: Settings, beside: psycopg.Connection, instance: dg.DagsterInstance
    ):
        fill(beside, BIGINT, 5)
        result = count(build_embedding_definitions("notes", text="body"), instance)
        assert not result.success
        error = result.failure_data_for_node("chunks_pending").error
        assert "notes is not adopted yet; `embedding-assets adopt notes`" in error.to_string()
        assert "`adopt` in its definitions does it" in error.to_string()
        assert beside.execute("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'notes'::regclass").fetchone() == (0,)

    def test_is_done_once_by_the_first_run_that_embeds(
        self, settings: Settings, beside: psycopg.Connection, instance: dg.DagsterInstance
    ):
        fill(beside, BIGINT, 5)
        defs = build_embedding_definitions("notes", text="body", where="id > 1", metadata=["lang"], adopt=True)
        first, second = (run_all(defs, "embed_chunks", instance) for _ in range(2))
        assert first.success
        assert second.success
        assert metadata_of(first, "chunks_pending")["pending"] == 4
        assert metadata_of(second, "chunks_pending")["embedded"] == 4

    def test_is_not_done_by_what_only_looks(
        self, settings: Settings, beside: psycopg.Connection, instance: dg.DagsterInstance
    ):
        fill(beside, BIGINT, 5)
        defs = build_embedding_definitions("notes", text="body", where="id > 1", adopt=True, key_prefix="shop")
        before = all_of(beside)
        result = defs.resolve_job_def("shop__embed_chunks").execute_in_process(
            instance=instance, asset_selection=[dg.AssetKey(["shop", "chunks_pending"])]
        )
        shown = metadata_of(result, "shop__chunks_pending")
        said = "notes is not adopted yet; the first run over shop/chunk_embeddings adopts it"
        assert shown == {"not_adopted": said, "chunks": 4, "embedded": 0, "pending": 4}
        [check] = result.get_asset_check_evaluations()
        assert (check.passed, check.description) == (True, said)
        alone = defs.resolve_job_def("shop__embed_chunks").execute_in_process(
            instance=instance, asset_selection=[dg.AssetKey(["shop", "pgvector_index_health"])], raise_on_error=False
        )
        assert said in first_error(alone)
        assert all_of(beside) == before

    def test_what_an_api_would_cost_is_known_before(
        self, settings: Settings, beside: psycopg.Connection, instance: dg.DagsterInstance
    ):
        fill(beside, BIGINT, 5)
        defs = build_embedding_definitions(
            "notes", text="body", adopt=True, provider="openai", model="text-embedding-3-small"
        )
        shown = metadata_of(count(defs, instance), "chunks_pending")
        assert (shown["pending"], shown["tokens"]) == (5, 10)
        assert 0 < shown["estimated_usd"] < 0.001

    def test_is_what_the_first_run_is_asked_for(
        self, settings: Settings, beside: psycopg.Connection, instance: dg.DagsterInstance
    ):
        fill(beside, BIGINT, 5)
        defs = build_embedding_definitions("notes", text="body", adopt=True)
        before = all_of(beside)
        [request] = tick(defs, instance).run_requests
        assert request.tags["dagster/asset_partition_range_start"] == "0"
        assert request.tags["dagster/asset_partition_range_end"] == "f"
        assert dg.AssetKey("chunk_embeddings") in request.asset_selection
        assert all_of(beside) == before
        run = add_run(instance, "0", "f", status=DagsterRunStatus.QUEUED)
        assert "in progress" in tick(defs, instance).skip_message
        instance.report_run_canceled(run)
        outcome = tick(defs, instance)
        assert "was cancelled" in outcome.skip_message
        assert "was cancelled" in tick(defs, instance, outcome.cursor).skip_message
        assert run_all(defs, "embed_chunks", instance).success
        assert tick(defs, instance).skip_message == "no chunk is due"

    def test_is_refused_as_the_command_does(
        self, settings: Settings, beside: psycopg.Connection, instance: dg.DagsterInstance
    ):
        beside.execute("CREATE TABLE keyless (body text)")
        result = count(build_embedding_definitions("keyless", text="body", adopt=True), instance)
        assert not result.success
        assert "key" in result.failure_data_for_node("chunks_pending").error.cause.message

    def test_the_error_is_still_one_of_a_table_that_was_not_adopted(
        self, settings: Settings, beside: psycopg.Connection
    ):
        fill(beside, BIGINT, 5)
        defs = build_embedding_definitions("notes")
        spec = TableSpec(variables={"EMBEDDING_TABLE": "notes"})
        with (
            dg.build_sensor_context(resources=defs.resources) as context,
            pytest.raises(TableNotAdoptedError, match="in the definitions of the table"),
            spec.open(context),
        ):
            pass


SLEEPING = """
import os, sys
import dagster as dg
from embedding_assets.defs.factory import build_embedding_definitions

defs = build_embedding_definitions()
with dg.build_sensor_context(instance=dg.DagsterInstance.ephemeral(), resources=defs.resources) as context:
    defs.get_repository_def().get_sensor_def("new_chunks_sensor").evaluate_tick(context)
print(os.environ.get("OMP_WAIT_POLICY"))
job = defs.resolve_job_def("embed_chunks")
job.execute_in_process(asset_selection=[dg.AssetKey("pgvector_index_health")])
print(os.environ.get("OMP_WAIT_POLICY"), "torch" in sys.modules)
"""


def test_threads_sleep_in_steps_and_not_in_the_code_server(settings: Settings):
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [sys.executable, "-c", SLEEPING], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout.split() == ["None", "PASSIVE", "False"], done.stderr
