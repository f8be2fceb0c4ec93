import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

from dagster import AssetKey, DefaultScheduleStatus, DefaultSensorStatus
from dagster._daemon.sensor import MIN_INTERVAL_LOOP_TIME

from embedding_assets.definitions import defs
from embedding_assets.health.checks import CHECKS

CHECKOUT = Path(__file__).parents[2]

DESCRIBE = """
import json, sys
from embedding_assets.definitions import defs
assets = defs.resolve_asset_graph()
keys = defs.resolve_assets_def("chunk_embeddings").partitions_def.get_partition_keys()
print(json.dumps({
    "partitions": [len(keys), keys[0], keys[-1]],
    "heavy": sorted({"torch", "transformers", "sentence_transformers", "openai"} & set(sys.modules)),
}))
"""


def test_what_is_defined():
    graph = defs.resolve_asset_graph()
    repository = defs.get_repository_def()

    assert {key.to_user_string(): sorted(p.to_user_string() for p in graph.get(key).parent_keys)
            for key in graph.get_all_asset_keys()} == {
        "knowledge_base": [],
        "chunks_pending": ["knowledge_base"],
        "chunk_embeddings": ["chunks_pending"],
        "pgvector_index_health": ["chunk_embeddings"],
    }  # fmt: skip
    assert sorted(f"{key.asset_key.to_user_string()}:{key.name}" for key in graph.asset_check_keys) == [
        "chunk_embeddings:backlog_age",
        "chunk_embeddings:costs_within_budget",
        "chunk_embeddings:coverage",
        "chunk_embeddings:finite_dimensions",
        "chunk_embeddings:hashes_reachable",
        "chunk_embeddings:quarantine_empty",
        "chunk_embeddings:throughput",
        "chunk_embeddings:unit_norm",
        "chunk_embeddings:vectors_match_model",
        "pgvector_index_health:bloat",
        "pgvector_index_health:index_valid",
        "pgvector_index_health:pgvector_version",
        "pgvector_index_health:planner_uses_index",
        "pgvector_index_health:recall",
        "pgvector_index_health:recall_drop",
    ]
    assert [job.name for job in repository.get_all_jobs() if not job.name.startswith("__")] == [
        "embed_chunks",
        "purge_runs",
    ]
    assert sorted((s.name, s.default_status) for s in repository.sensor_defs) == [
        ("failed_checks_sensor", DefaultSensorStatus.RUNNING),
        ("failed_runs_sensor", DefaultSensorStatus.RUNNING),
        ("index_health_sensor", DefaultSensorStatus.RUNNING),
        ("new_chunks_sensor", DefaultSensorStatus.RUNNING),
    ]
    assert [(s.name, s.cron_schedule, s.default_status) for s in repository.schedule_defs] == [
        ("nightly_schedule", "0 2 * * *", DefaultScheduleStatus.RUNNING),
        ("purge_schedule", "30 3 * * *", DefaultScheduleStatus.RUNNING),
    ]
    assert set(repository.get_top_level_resources()) == {"embedding_database", "embedding_model", "embedding_provider"}


def test_partitions_are_the_hex_characters():
    graph = defs.resolve_asset_graph()

    assert graph.get(AssetKey("chunk_embeddings")).partitions_def.get_partition_keys() == list("0123456789abcdef")
    assert not graph.get(AssetKey("chunks_pending")).is_partitioned
    assert not graph.get(AssetKey("pgvector_index_health")).is_partitioned


def test_embeddings_and_index_are_to_be_touched_every_night():
    graph = defs.resolve_asset_graph()

    late = timedelta(hours=36)
    windows = {asset.key.to_user_string(): graph.get(asset.key).freshness_policy for asset in defs.assets}
    assert windows.pop("knowledge_base") is windows.pop("chunks_pending") is None
    assert {name: policy.fail_window.to_timedelta() for name, policy in windows.items()} == {
        "chunk_embeddings": late,
        "pgvector_index_health": late,
    }
    assert late > timedelta(days=1), "or every day it would be stale until the nightly run is done"


def test_everything_is_described():
    graph = defs.resolve_asset_graph()

    assert all(graph.get(asset.key).description for asset in defs.assets)
    assert all(graph.get_check_spec(key).description for key in graph.asset_check_keys)
    repository = defs.get_repository_def()
    named = [
        *repository.sensor_defs,
        *repository.schedule_defs,
        *map(repository.get_job, ("embed_chunks", "purge_runs")),
    ]
    assert all(item.description for item in named)


def test_every_check_says_what_to_do_when_it_fails():
    graph = defs.resolve_asset_graph()

    by_name = {check.name: check for check in CHECKS}
    for key in graph.asset_check_keys:
        check = by_name[key.name]
        assert graph.get_check_spec(key).description == check.description
        assert check.verdict(False, "found").description.startswith("found. "), key
    for asset in defs.assets:
        description = graph.get(asset.key).description
        assert "If it fails" in description or graph.get(asset.key).is_external, asset.key
        assert len(description.partition("\n")[0]) <= 100, "what a list shows of it"


def test_only_the_checks_on_vectors_block():
    graph = defs.resolve_asset_graph()

    blocking = {key.name for key in graph.asset_check_keys if graph.get_check_spec(key).blocking}
    assert blocking == {"finite_dimensions", "unit_norm", "vectors_match_model"}


def test_loading_with_two_characters_prints_nothing_and_loads_no_model_library():
    loaded = subprocess.run(
        [sys.executable, "-c", DESCRIBE],
        env=os.environ | {"EMBEDDING_PREFIX_LENGTH": "2"},
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert loaded.stderr == ""
    assert json.loads(loaded.stdout) == {"partitions": [256, "00", "ff"], "heavy": []}


def test_no_asset_uses_a_pool():
    """A slot of a pool outlives a run that is killed; without a daemon the next run would wait for ever."""
    graph = defs.resolve_asset_graph()

    assert not [key for key in graph.get_all_asset_keys() if graph.get(key).pools]


def test_loading_changes_nothing_of_the_process():
    code = (
        "import logging, os, warnings; import dagster; before = dict(os.environ); "
        "logging.getLogger('embedding_assets').setLevel(logging.ERROR); from embedding_assets.defs.factory import "
        "build_embedding_definitions as build; build(); "
        "print(dict(os.environ) == before, [f for f in warnings.filters if f[2] is dagster.BetaWarning], "
        "logging.getLogger('embedding_assets').level)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout.strip() == "True [] 40", done.stderr


def test_a_look_of_the_daemon_that_comes_a_little_early_is_not_left_out():
    sensor = defs.get_repository_def().get_sensor_def("new_chunks_sensor")

    assert sensor.minimum_interval_seconds <= MIN_INTERVAL_LOOP_TIME - 1
