"""The asset of documents, its check and its sensor, in real runs over real folders."""

import json
import time

import dagster
import pytest
from dagster import AssetKey, DagsterRunStatus, SkipReason, build_sensor_context

from embedding_assets.defs.documents import documents_sensor
from embedding_assets.defs.factory import build_embedding_definitions
from embedding_assets.defs.jobs import table_job
from embedding_assets.defs.table_spec import TableSpec
from embedding_assets_tests.support.fakes import insert_chunks
from embedding_assets_tests.support.materializing import metadata_of
from embedding_assets_tests.support.stores import status

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning")

CANARY = "xylophonecanary"


@pytest.fixture
def docs(tmp_path, monkeypatch):
    """A folder of three documents that the settings name."""
    folder = tmp_path / "docs"
    folder.mkdir()
    for number in range(3):
        (folder / f"n{number}.md").write_text(f"# Title {number}\n\n{CANARY} number {number} plays in the park.\n")
    monkeypatch.setenv("EMBEDDING_DOCUMENTS", str(folder))
    return folder


def run(instance, selection=("documents",)):
    defs = build_embedding_definitions()
    return dagster.materialize(
        [*defs.assets, *defs.asset_checks],
        instance=instance,
        resources=defs.resources,
        selection=dagster.AssetSelection.assets(*selection),
        tags={"dagster/asset_partition_range_start": "0", "dagster/asset_partition_range_end": "f"},
    )


def check_of(result):
    [check] = [one for one in result.get_asset_check_evaluations() if one.check_name == "documents_readable"]
    return check


def counts(result):
    names = ("documents", "new", "changed", "unchanged", "renamed", "gone", "pruned", "rejected")
    metadata = metadata_of(result, "documents")
    return {name: metadata[name] for name in names if metadata.get(name)}


def test_without_documents_there_is_none(settings):
    defs = build_embedding_definitions()
    assert AssetKey("documents") not in {asset.key for asset in defs.assets}
    assert "documents_sensor" not in {sensor.name for sensor in defs.sensors}


def test_it_is_upstream_of_what_is_pending_and_in_the_job(settings, docs):
    defs = build_embedding_definitions()
    graph = defs.resolve_asset_graph()
    assert graph.get(AssetKey("chunks_pending")).parent_keys == {AssetKey("documents")}
    job = defs.resolve_job_def("embed_chunks")
    assert AssetKey("documents") in job.asset_layer.selected_asset_keys
    named = build_embedding_definitions(key_prefix="shop")
    assert AssetKey(["shop", "documents"]) in {asset.key for asset in named.assets}
    assert "shop__documents_sensor" in {sensor.name for sensor in named.sensors}


def test_the_folder_is_followed(settings, docs, database, instance):
    result = run(instance)
    assert counts(result) == {"documents": 3, "new": 3}
    assert metadata_of(result, "documents")["collections"] == "docs"
    assert (check_of(result).passed, check_of(result).description) == (True, "3 documents read")
    assert counts(run(instance)) == {"documents": 3, "unchanged": 3}

    (docs / "n0.md").rename(docs / "renamed.md")
    (docs / "n1.md").write_text("# Another\n\nPlays elsewhere now.\n")
    (docs / "n2.md").unlink()
    (docs / "picture.png").write_bytes(b"\x89PNG")
    assert counts(run(instance)) == {"documents": 2, "changed": 1, "renamed": 1, "gone": 1}
    assert database.run(lambda c: c.execute("SELECT count(*) FROM loaded_documents").fetchone()) == (3,)


def test_what_is_gone_is_removed_where_that_is_wanted(settings, docs, database, instance, monkeypatch):
    for number in range(3, 40):
        (docs / f"n{number}.md").write_text(f"Number {number} plays elsewhere.\n")
    run(instance)
    (docs / "n9.md").unlink()
    monkeypatch.setenv("EMBEDDING_DOCUMENTS_PRUNE", "true")
    assert counts(run(instance)) == {"documents": 39, "unchanged": 39, "gone": 1, "pruned": 1}
    for number in range(10, 35):
        (docs / f"n{number}.md").unlink()
    refused = run(instance)
    assert counts(refused) == {"documents": 14, "unchanged": 14, "gone": 25}
    assert (check_of(refused).passed, check_of(refused).severity.value) == (False, "WARN")
    assert "load --prune --yes" in check_of(refused).description


def test_rejections_are_listed_by_file_and_reason_without_text(settings, docs, instance):
    (docs / "rows.jsonl").write_text(f'{{"text": "good"}}\nnot json {CANARY}\n')
    (docs / "latin.md").write_bytes(f"{CANARY} \xe9\xe9".encode("latin-1"))
    (docs / "archive.rar").write_bytes(b"Rar!")

    result = run(instance)

    metadata = metadata_of(result, "documents")
    rejected = {row.data["file"]: row.data["line"] for row in metadata["rejections"].records}
    assert rejected == {"docs/rows.jsonl": 2, "docs/latin.md": 1}
    assert {"what": ".rar", "why": "of a kind that is not read", "count": 1} in [
        row.data for row in metadata["not_loaded"].records
    ]
    check = check_of(result)
    assert (check.passed, check.severity.value, check.metadata["rejected"].value) == (False, "WARN", 2)
    events = json.dumps([dagster.serialize_value(entry) for entry in instance.all_logs(result.run_id)])
    assert CANARY not in events


def test_files_of_another_encoding(settings, docs, database, instance, monkeypatch):
    (docs / "latin.md").write_bytes("Caf\xe9 im Park.".encode("cp1252"))
    monkeypatch.setenv("EMBEDDING_DOCUMENTS_ENCODING", "cp1252")
    assert counts(run(instance)) == {"documents": 4, "new": 4}
    found = database.run(
        lambda c: c.execute("SELECT count(*) FROM knowledge_base WHERE chunk_text ~ 'Café'").fetchone()
    )
    assert found == (1,)


def test_rows_of_several_fields_and_what_tools_have_made(settings, docs, database, instance, monkeypatch):
    (docs / "node_modules").mkdir()
    (docs / "node_modules/rows.csv").write_text("title,body\nOne,alpha\n")
    monkeypatch.setenv("EMBEDDING_DOCUMENTS_NO_IGNORE", "true")
    monkeypatch.setenv("EMBEDDING_DOCUMENTS_TEXT_TEMPLATE", r"{title}: {body}")
    assert counts(run(instance)) == {"documents": 4, "new": 4}
    found = database.run(
        lambda c: c.execute("SELECT count(*) FROM knowledge_base WHERE chunk_text = 'One: alpha'").fetchone()
    )
    assert found == (1,)


def test_rejected_rows_are_accepted_where_that_is_wanted(settings, docs, database, instance, monkeypatch):
    (docs / "rows.jsonl").write_text('{"text": "good"}\n{"text": "better"}\n')
    run(instance)
    (docs / "rows.jsonl").write_text('{"text": "good"}\nnot json\n')
    run(instance)
    rows = "SELECT chunk_text FROM knowledge_base WHERE document_metadata ->> 'origin' = 'docs/rows.jsonl' ORDER BY 1"
    assert database.run(lambda c: c.execute(rows).fetchall()) == [("better",), ("good",)]
    monkeypatch.setenv("EMBEDDING_DOCUMENTS_ACCEPT_REJECTED", "true")
    run(instance)
    assert database.run(lambda c: c.execute(rows).fetchall()) == [("good",)]


def test_a_missing_folder_is_an_error_and_costs_nothing(settings, docs, database, instance, monkeypatch, tmp_path):
    monkeypatch.setenv("EMBEDDING_DOCUMENTS", f"{docs},{tmp_path / 'mount'}")
    monkeypatch.setenv("EMBEDDING_DOCUMENTS_PRUNE", "true")
    (tmp_path / "mount").mkdir()
    (tmp_path / "mount/m.md").write_text("From the mount.\n")
    assert counts(run(instance)) == {"documents": 4, "new": 4}

    (tmp_path / "mount").rename(tmp_path / "away")
    result = run(instance)

    check = check_of(result)
    assert (check.passed, check.severity.value) == (False, "ERROR")
    assert f"{tmp_path / 'mount'} does not exist" in check.description
    assert counts(result) == {"documents": 3, "unchanged": 3}
    assert database.run(lambda c: c.execute("SELECT count(*) FROM loaded_documents").fetchone()) == (4,)


def test_documents_are_embedded_in_the_same_run(settings, docs, database, instance):
    result = run(instance, ("documents", "chunks_pending", "chunk_embeddings", "pgvector_index_health"))
    assert result.success
    assert metadata_of(result, "chunks_pending")["pending"] == 3
    assert database.run(lambda c: c.execute("SELECT count(embedding) FROM knowledge_base").fetchone()) == (3,)


class Ticks:
    """Ticks of the sensor, one after the other, with the runs that it asks for as records alone."""

    def __init__(self, instance):
        self._instance = instance
        self.cursor = None
        spec = TableSpec()
        self._job = table_job(spec)
        self._sensor = documents_sensor(spec, self._job)

    def tick(self):
        context = build_sensor_context(instance=self._instance, cursor=self.cursor, sensor_name="documents_sensor")
        result = self._sensor(context)
        if not isinstance(result, SkipReason):
            self.cursor = result.cursor
        return result

    def asked(self):
        """A run as the daemon makes it of what the tick asks for."""
        [request] = self.tick().run_requests
        job = build_embedding_definitions().resolve_job_def("embed_chunks")
        return self._instance.create_run_for_job(
            job, tags={**request.tags, "dagster/sensor_name": "documents_sensor"}, asset_selection=None
        )

    def end(self, run, status):
        event = {
            DagsterRunStatus.SUCCESS: dagster.DagsterEventType.RUN_SUCCESS,
            DagsterRunStatus.FAILURE: dagster.DagsterEventType.RUN_FAILURE,
            DagsterRunStatus.CANCELED: dagster.DagsterEventType.RUN_CANCELED,
        }[status]
        self._instance.report_dagster_event(
            dagster.DagsterEvent(event_type_value=event.value, job_name=run.job_name), run_id=run.run_id
        )


@pytest.fixture
def ticks(settings, docs, instance):
    return Ticks(instance)


def test_a_change_asks_for_a_run_once(ticks, docs):
    run = ticks.asked()
    assert "still loads" in ticks.tick().skip_message
    ticks.end(run, DagsterRunStatus.SUCCESS)
    assert ticks.tick().skip_message == "3 files, as when they were last loaded"

    (docs / "new.md").write_text("new\n")
    run = ticks.asked()
    (docs / "newer.md").write_text("newer\n")
    ticks.end(run, DagsterRunStatus.SUCCESS)
    assert ticks.asked(), "what came while it was loaded"


def test_a_bucket_is_followed(settings, bucket, s3, docs, database, instance, monkeypatch):
    bucket.put(handbook__a="one", handbook__b="two")
    monkeypatch.setenv("EMBEDDING_DOCUMENTS", f"{docs},{bucket.url('handbook')},{bucket.url('none')}")
    ticks = Ticks(instance)
    ticks.end(ticks.asked(), DagsterRunStatus.SUCCESS)
    assert "none cannot be read: there is no such file or folder" in ticks.tick().skip_message
    result = run(instance)
    assert counts(result) == {"documents": 5, "new": 5}
    check = check_of(result)
    assert (check.passed, "none cannot be read: there is no such file or folder" in check.description) == (False, True)

    bucket.put(handbook__a="edited")
    s3.faults[f"/{bucket.name}"] = [status(503)]
    monkeypatch.setattr("embedding_assets.documents.stores.bucket._RETRY_SECONDS", 0)
    assert "cannot be looked at: the store goes on failing" in ticks.tick().skip_message
    s3.faults.clear()
    assert ticks.asked()
    assert counts(run(instance)) == {"documents": 5, "changed": 1, "unchanged": 4}


def test_a_failed_load_is_tried_again_later(ticks, monkeypatch):
    run = ticks.asked()
    ticks.end(run, DagsterRunStatus.FAILURE)
    assert "the next is asked for at" in ticks.tick().skip_message
    now = time.time()
    monkeypatch.setattr("embedding_assets.defs.pauses.time.time", lambda: now + 700)
    assert ticks.asked()


def test_a_cancelled_load_is_not(ticks, docs):
    ticks.end(ticks.asked(), DagsterRunStatus.CANCELED)
    assert "as when they were last loaded" in ticks.tick().skip_message
    (docs / "n0.md").write_text("changed a lot\n")
    assert ticks.asked()


def test_folders_that_are_too_large_to_look_through_are_named(ticks, monkeypatch):
    monkeypatch.setattr("embedding_assets.defs.documents.LOOK_SECONDS", -1)
    assert "the nightly run loads them" in ticks.tick().skip_message


def test_new_chunks_do_not_load_documents(settings, docs, database, instance):
    defs = build_embedding_definitions()
    insert_chunks(database, ["one chunk"])
    repository = defs.get_repository_def()
    with build_sensor_context(instance=instance, repository_def=repository, resources=defs.resources) as context:
        result = repository.get_sensor_def("new_chunks_sensor").evaluate_tick(context)

    [request] = result.run_requests
    assert {key.to_user_string() for key in request.asset_selection} == {
        "chunks_pending", "chunk_embeddings", "pgvector_index_health",
    }  # fmt: skip
