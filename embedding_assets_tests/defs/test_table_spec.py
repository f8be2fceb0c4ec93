"""What the definitions of a table are made from: its settings, its database, what a step does to its process."""

import os
import subprocess
import sys

import dagster as dg
import psycopg
import pytest

from embedding_assets.config import Settings
from embedding_assets.defs.factory import build_embedding_definitions
from embedding_assets.defs.table_spec import TableSpec
from embedding_assets.errors import ConfigurationError, TableNotAdoptedError
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


def test_it_shows_no_secret():
    spec = TableSpec(key_prefix=("shop",), variables={"EMBEDDING_DATABASE_URL": SECRET})
    assert "hunter2" not in repr(spec)
    assert "shop" in repr(spec)


def test_errors_name_the_definitions(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("M", "many")
    spec = TableSpec(key_prefix=("shop", "articles"), variables={"EMBEDDING_INDEX_M": dg.EnvVar("M")})
    with pytest.raises(ConfigurationError, match=r"EMBEDDING_INDEX_M: (.|\n)*in the definitions of shop/articles"):
        spec.settings()


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

    def test_is_done_once_by_what_comes_first(
        self, settings: Settings, beside: psycopg.Connection, instance: dg.DagsterInstance
    ):
        fill(beside, BIGINT, 5)
        defs = build_embedding_definitions("notes", text="body", where="id > 1", metadata=["lang"], adopt=True)
        first, second = (count(defs, instance) for _ in range(2))
        assert first.success
        assert second.success
        (materialization,) = first.asset_materializations_for_node("chunks_pending")
        assert materialization.metadata["chunks"].value == 4

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
