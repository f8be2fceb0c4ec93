import json
import logging
import re
import threading
import time

import dagster
import pytest
from dagster import AssetKey, DagsterInstance, MarkdownMetadataValue, serialize_value

from embedding_assets.config import LoggingConfig
from embedding_assets.definitions import defs
from embedding_assets.defs.code_version import code_version
from embedding_assets.encoder.demo_model import NAME as DEMO_MODEL
from embedding_assets.logs import configure_logging
from embedding_assets.postgres.locks import hold
from embedding_assets.postgres.schema import HEAD
from embedding_assets_tests.support.defined import SPEC, chunk_embeddings
from embedding_assets_tests.support.evaluating import evaluate
from embedding_assets_tests.support.fakes import hash_of, insert_chunks
from embedding_assets_tests.support.materializing import materialize, metadata_of

CANARY = "xylophonecanary"
TEXTS = [f"{CANARY} number {n} plays in the park after {n} o'clock" for n in range(60)]
CHECKS_OF_VECTORS = {"embedding_checks", "chunk_embeddings_vectors_match_model", "chunk_embeddings_costs_within_budget"}


def error_of(result):
    [failure] = [event for event in result.all_events if event.is_step_failure]
    return failure.step_failure_data.error.to_string()


def embedded(database):
    return database.run(lambda c: c.execute("SELECT count(embedding) FROM knowledge_base").fetchone())[0]


def test_the_whole_range_in_one_run(database, instance):
    hashes = insert_chunks(database, TEXTS)

    result = materialize(instance)

    assert result.success
    steps = [event.step_key for event in result.all_events if event.is_step_success]
    assert steps[:2] == ["chunks_pending", "chunk_embeddings"]
    assert set(steps) - {"pgvector_index_health", "index_checks"} == {*steps[:2], *CHECKS_OF_VECTORS}
    assert steps.index("chunk_embeddings_vectors_match_model") < steps.index("pgvector_index_health")
    assert steps.index("pgvector_index_health") < steps.index("index_checks")
    assert embedded(database) == 60
    pending = metadata_of(result, "chunks_pending")
    assert (pending["chunks"], pending["pending"], pending["embedded"]) == (60, 60, 0)
    assert "estimated_usd" not in pending, "a local model costs none"
    assert pending["tokens"] > 0
    assert "minutes_needed" not in pending, "there is no run yet to judge by"
    by_prefix = {row.data["prefix"]: row.data["pending"] for row in pending["by_prefix"].records}
    assert by_prefix == {p: sum(h.startswith(p) for h in hashes) for p in sorted({h[0] for h in hashes})}

    [*all_embeddings] = result.asset_materializations_for_node("chunk_embeddings")
    assert sorted(m.partition for m in all_embeddings) == list("0123456789abcdef")
    run = metadata_of(result, "chunk_embeddings")
    assert sum(m.metadata["embedded"].value for m in all_embeddings) == run["run_embedded"] == 60
    assert run["run_chunks_per_second"] > 0
    details = dict(line.strip("| ").split(" | ") for line in run["run_details"].splitlines())
    assert float(details["seconds"]) > 0
    assert int(details["tokens"].replace(",", "")) > 0
    assert re.match(r"on cpu in \w+.*, peak memory [\d,]+ MB$", details["computed"])
    assert not any("usd" in name for name in run), "a local model costs none"
    assert run["dagster/row_count"] == 60

    health = metadata_of(result, "pgvector_index_health")
    assert health["valid"] is True
    assert all(words in health["details"] for words in ("| index | idx_knowledge_embedding |", "m=16"))
    assert health["recall"] > 0.9
    assert health["size_mb"] > 0
    curve = health["details"].partition("| ef_search |")[2].splitlines()[2:]
    assert [line.split()[1] for line in curve] == ["10", "20", "40", "80", "120", "200", "400"]
    assert "spaces" not in health, "there is one"
    verdicts = {check.check_name: check.passed for check in result.get_asset_check_evaluations()}
    assert verdicts == dict.fromkeys(
        ["finite_dimensions", "unit_norm", "throughput", "coverage", "backlog_age", "quarantine_empty",
         "hashes_reachable", "vectors_match_model", "costs_within_budget", "index_valid", "recall", "recall_drop",
         "bloat", "planner_uses_index", "pgvector_version"], True
    )  # fmt: skip

    events = json.dumps([serialize_value(entry) for entry in instance.all_logs(result.run_id)])
    assert "committed" in events, "the library's own lines are missing"
    assert CANARY not in events

    again = materialize(instance)
    assert again.success
    assert metadata_of(again, "chunk_embeddings")["run_embedded"] == 0
    assert "run_details" not in metadata_of(again, "chunk_embeddings"), "the model was loaded for nothing"


def test_each_partition_shows_its_own_numbers(database, instance):
    hashes = insert_chunks(database, TEXTS[:8])

    result = materialize(instance)

    for prefix in "0123456789abcdef":
        expected = sum(chunk_hash.startswith(prefix) for chunk_hash in hashes)
        metadata = metadata_of(result, "chunk_embeddings", prefix)
        assert list(metadata)[:2] == ["partition", "embedded"]
        assert (metadata["partition"], metadata["embedded"], metadata["run_embedded"]) == (prefix, expected, 8)
        assert (metadata["pending"], metadata["dagster/partition_row_count"]) == (0, expected)


def test_a_run_that_names_no_partition_is_over_all(database, instance):
    """As one that a schedule of somebody's asks for over a job of theirs."""
    hashes = insert_chunks(database, TEXTS[:8])

    result = materialize(instance, tags={"team": "search"})

    assert result.success
    assert embedded(database) == 8
    key = AssetKey("chunk_embeddings")
    assert instance.get_materialized_partitions(key) == {*"0123456789abcdef"}
    prefix = hashes[0][0]
    metadata = metadata_of(result, "chunk_embeddings", prefix)
    expected = sum(chunk_hash.startswith(prefix) for chunk_hash in hashes)
    assert (metadata["partition"], metadata["embedded"], metadata["run_embedded"]) == (prefix, expected, 8)
    [whole] = [m for m in result.asset_materializations_for_node("chunk_embeddings") if m.partition is None]
    assert whole.metadata["run_embedded"].value == 8
    assert "partition" not in whole.metadata
    judged = {check.check_name: check.passed for check in result.get_asset_check_evaluations()}
    assert judged["vectors_match_model"]
    assert judged["coverage"]


def test_a_run_over_an_empty_table_that_names_no_partition_is_over_all(database, instance):
    assert materialize(instance, tags={"team": "search"}).success
    assert instance.get_materialized_partitions(AssetKey("chunk_embeddings")) == {*"0123456789abcdef"}


def test_the_catalog_knows_where_the_vectors_are(database, instance):
    insert_chunks(database, TEXTS[:3])

    result = materialize(instance)

    metadata = metadata_of(result, "chunk_embeddings")
    host, _, name = database.address.rpartition("@")[2].rpartition("/")
    assert metadata["dagster/table_name"] == f"{name}.public.knowledge_base"
    assert metadata["dagster/uri"] == f"postgresql://{'' if host.startswith('/') else host}/{name}"
    columns = {column.name: column for column in metadata["dagster/column_schema"].columns}
    assert columns["embedding"].type == "vector(768)"
    assert columns["embedding"].description == f"vectors of space {metadata['space']}"
    assert all(column.description for column in columns.values())
    assert (columns["chunk_hash"].constraints.nullable, columns["embedding"].constraints.nullable) == (False, True)
    [seen] = [event for event in result.all_events if event.event_type_value == "ASSET_OBSERVATION"]
    assert seen.asset_key == AssetKey("knowledge_base")
    assert seen.asset_observation_data.asset_observation.metadata["dagster/row_count"].value == 3


def test_an_empty_run_attaches_no_pictures(database, instance):
    insert_chunks(database, TEXTS[:3])
    materialize(instance)
    again = materialize(instance)
    for asset in ("chunks_pending", "chunk_embeddings", "pgvector_index_health"):
        values = again.asset_materializations_for_node(asset)[0].metadata.values()
        texts = [value.md_str for value in values if isinstance(value, MarkdownMetadataValue)]
        assert not [text for text in texts if "![" in text], asset


def test_rows_that_come_later_are_named_by_their_partition(database, instance):
    insert_chunks(database, TEXTS[:20])
    materialize(instance)
    insert_chunks(database, TEXTS[20:22])
    checks = evaluate(dagster.AssetSelection.checks(dagster.AssetCheckKey(AssetKey("chunk_embeddings"), "coverage")))
    prefixes = sorted({hash_of(text)[0] for text in TEXTS[20:22]})
    assert not checks["coverage"].passed
    assert f"pending in {len(prefixes)} partition" in checks["coverage"].description
    assert f": {' '.join(prefixes)}." in checks["coverage"].description
    assert checks["coverage"].metadata["incomplete_partitions"].value == len(prefixes)


def test_the_code_version_is_that_of_schema_and_settings(settings, monkeypatch):
    names = ("chunks_pending", "chunk_embeddings", "pgvector_index_health")
    before = {name: code_version(SPEC, name) for name in names}
    assert all(version.startswith(HEAD) for version in before.values())
    monkeypatch.setenv("EMBEDDING_INDEX_M", "24")
    assert code_version(SPEC, "chunk_embeddings") == before["chunk_embeddings"]
    assert code_version(SPEC, "pgvector_index_health") != before["pgvector_index_health"]
    monkeypatch.setenv("EMBEDDING_MODEL_NAME", "another/model")
    assert code_version(SPEC, "chunk_embeddings") != before["chunk_embeddings"]
    assert code_version(SPEC, "chunks_pending") == before["chunks_pending"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("TEXT_COLUMN", "body"), ("TEXT_TEMPLATE", "{title}"), ("NO_IGNORE", "true"), ("ACCEPT_REJECTED", "true")],
)
def test_the_code_version_of_documents_is_that_of_how_they_are_loaded(settings, monkeypatch, name, value):
    before = code_version(SPEC, "documents")
    monkeypatch.setenv(f"EMBEDDING_DOCUMENTS_{name}", value)
    assert code_version(SPEC, "documents") != before


def test_one_partition_or_part_of_the_range(database, instance):
    hashes = insert_chunks(database, TEXTS)

    assert materialize(instance, partition="3").success
    assert embedded(database) == sum(h.startswith("3") for h in hashes)
    assert materialize(instance, first="3", last="9").success
    assert embedded(database) == sum("3" <= h[0] <= "9" for h in hashes)


@pytest.mark.parametrize(
    ("selection", "dropped"),
    [(["chunks_pending"], False), (["chunk_embeddings"], False), (["chunk_embeddings", "pgvector_index_health"], True)],
)
def test_the_index_makes_way_only_where_it_is_built_again(database, instance, selection, dropped):
    insert_chunks(database, TEXTS[:5])
    assert materialize(instance).success
    # More to load than is there.
    insert_chunks(database, TEXTS[5:])
    number = "SELECT 'idx_knowledge_embedding'::regclass::oid"
    before = database.run(lambda c: c.execute(number).fetchone())

    result = materialize(instance, selection=selection)

    assert result.success
    assert (database.run(lambda c: c.execute(number).fetchone()) != before) is dropped
    assert embedded(database) == (5 if selection == ["chunks_pending"] else 60)
    if selection == ["chunks_pending"]:
        assert metadata_of(result, "chunks_pending")["index_plan"].startswith("defer: 55 chunks to load, 5 embedded")


def test_one_partition_by_its_key_alone(database, instance):
    insert_chunks(database, TEXTS[:10])
    key = hash_of(TEXTS[0])[0]

    result = dagster.materialize([chunk_embeddings], instance=instance, resources=defs.resources, partition_key=key)

    assert result.success
    assert embedded(database) == sum(hash_of(t)[0] == hash_of(TEXTS[0])[0] for t in TEXTS[:10])


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("EMBEDDING_MODEL_NAME", "nobody/has-this-model", "nobody/has-this-model"),
        ("EMBEDDING_DIMENSIONS", "384", "EMBEDDING_DIMENSIONS is 384"),
        ("EMBEDDING_BATCH_SIZE", "0", "EMBEDDING_BATCH_SIZE: Input should be greater than or equal to 1"),
        ("EMBEDDING_DATABASE_URL", "postgresql://u:hunter2@127.0.0.1:1/d", "127.0.0.1:1"),
    ],
)
def test_a_wrong_setting_fails_the_run_with_its_message(database, instance, monkeypatch, setting, value, message):
    insert_chunks(database, TEXTS[:3])
    monkeypatch.setenv("EMBEDDING_DATABASE_RETRY_SECONDS", "0")
    monkeypatch.setenv(setting, value)

    result = materialize(instance, raise_on_error=False)

    assert not result.success
    assert message in error_of(result)
    assert "hunter2" not in json.dumps([serialize_value(entry) for entry in instance.all_logs(result.run_id)])
    assert embedded(database) == 0


def test_what_the_launchpad_sets_wins(database, instance, monkeypatch):
    insert_chunks(database, TEXTS[:5])
    monkeypatch.setenv("EMBEDDING_MODEL_NAME", "nobody/has-this-model")
    monkeypatch.setenv("EMBEDDING_BATCH_SIZE", "500")
    sizes = []
    monkeypatch.setattr(
        "embedding_assets.providers.local.plan_batches",
        lambda lengths, **limits: sizes.append(limits["max_texts"]) or [list(range(len(lengths)))],
    )

    model = {"config": {"batch_size": 2, "model_name": DEMO_MODEL}}
    result = materialize(instance, run_config={"resources": {"embedding_model": model}})

    assert result.success
    assert sizes == [2, 2, 2], "the first text of the space, the chunks, and the sample that is computed again"


def test_the_launchpad_chooses_the_database(settings, database, empty_url, instance, monkeypatch):
    insert_chunks(database, TEXTS[:5])
    url = settings.database.url.get_secret_value()
    monkeypatch.setenv("EMBEDDING_DATABASE_URL", empty_url)

    assert materialize(instance, run_config={"resources": {"embedding_database": {"config": {"url": url}}}}).success

    assert embedded(database) == 5


def test_a_provider_that_is_unknown_is_refused(database, instance):
    config = {"resources": {"embedding_provider": {"config": {"provider": "oracle"}}}}

    result = materialize(instance, run_config=config, raise_on_error=False)

    assert "EMBEDDING_PROVIDER" in error_of(result)


def test_a_failing_model_fails_the_run_and_keeps_what_is_there(database, instance, monkeypatch):
    insert_chunks(database, TEXTS[:20])

    def broken(*_):
        raise RuntimeError(f"no kernel for {TEXTS[0]}")

    monkeypatch.setattr("embedding_assets.encoder.model.LoadedModel.start", broken)

    result = materialize(instance, raise_on_error=False)

    assert "fails on any text" in error_of(result)
    assert embedded(database) == 0


def test_log_lines_outside_dagster_carry_the_run(database, capfd):
    insert_chunks(database, TEXTS[:3])
    root = logging.getLogger()
    before, level = root.handlers[:], logging.getLogger("embedding_assets").level
    try:
        configure_logging(LoggingConfig(level="INFO"))
        # An instance that leaves Python's loggers alone.
        with DagsterInstance.ephemeral() as instance:
            result = materialize(instance)
    finally:
        root.handlers[:] = before
        logging.getLogger("embedding_assets").setLevel(level)

    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    finished = [line for line in lines if line["message"].startswith("run finished")]
    assert [line["run_id"] for line in finished] == [result.run_id]
    assert {line["run_id"] for line in lines if "committed" in line["message"]} == {result.run_id}


def test_runs_on_one_machine_take_turns(database, instance, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "embedding_assets")
    insert_chunks(database, TEXTS[:5])
    monkeypatch.setattr("embedding_assets.pipeline.run.occupied", lambda _: ("core 0 of here", "core 1 of here"))
    monkeypatch.setattr("embedding_assets.postgres.locks._POLL_SECONDS", 0.05)
    results = []
    run = threading.Thread(target=lambda: results.append(materialize(instance)))
    with database.session() as connection, hold(connection, "core 1 of here"):
        run.start()
        deadline = time.monotonic() + 120
        # Not asked of the instance: its database in memory refuses to be read while the run writes.
        while not any("waiting for the lock" in message for message in caplog.messages):
            assert time.monotonic() < deadline, "no run waited"
            time.sleep(0.05)
        assert embedded(database) == 0
    run.join(120)

    [result] = results
    assert result.success
    assert embedded(database) == 5
    lines = [entry.user_message for entry in instance.all_logs(result.run_id)]
    assert any("waiting for the lock" in line for line in lines)


def test_a_run_without_work_does_not_wait(database, instance, monkeypatch):
    monkeypatch.setattr("embedding_assets.pipeline.run.occupied", lambda _: ("core 0 of here", "core 1 of here"))

    with database.session() as connection, hold(connection, "core 1 of here"):
        assert materialize(instance).success


def test_asset_keys_have_no_prefix():
    assert {asset.key.to_user_string() for asset in defs.assets} == {
        "knowledge_base", "chunks_pending", "chunk_embeddings", "pgvector_index_health",
    }  # fmt: skip


def test_an_empty_table_needs_no_model(database, instance, monkeypatch):
    """A fresh checkout without a cached model and without a network."""
    monkeypatch.setenv("EMBEDDING_MODEL_NAME", "nobody/never-fetched")
    result = materialize(instance)
    assert result.success
    assert metadata_of(result, "chunks_pending") == {
        "chunks": 0, "note": "knowledge_base is empty; load documents with `embedding-assets load PATH`",
    }  # fmt: skip
    checks = result.get_asset_check_evaluations()
    assert len(checks) == 15
    assert all(check.passed for check in checks)
