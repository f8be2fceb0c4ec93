"""The asset of judged questions and its check."""

import json
import subprocess
import sys

import dagster
import pytest

from embedding_assets.definitions import defs
from embedding_assets.defs.quality import quality_assets
from embedding_assets.pipeline.run import embed_pending
from embedding_assets_tests.support.defined import SPEC
from embedding_assets_tests.support.evaluating import execute
from embedding_assets_tests.support.judging import QUESTIONS, insert_documents, write_questions

pytestmark = pytest.mark.uncovered

DESCRIBE = """
import json
from embedding_assets.definitions import defs
graph = defs.resolve_asset_graph()
print(json.dumps([
    {key.to_user_string(): sorted(parent.to_user_string() for parent in graph.get(key).parent_keys)
     for key in graph.get_all_asset_keys()},
    [key.name for key in graph.asset_check_keys],
    {job.name: sorted(key.to_user_string() for key in job.asset_layer.selected_asset_keys)
     for job in defs.get_repository_def().get_all_jobs() if not job.name.startswith("__")},
]))
"""


def test_they_are_there_where_questions_are(settings, monkeypatch, tmp_path):
    assert quality_assets(SPEC) == ([], [])
    monkeypatch.setenv("EMBEDDING_EVALUATION_QUERIES", str(tmp_path / "questions.jsonl"))
    [asset], [check] = quality_assets(SPEC)
    assert (asset.key.to_user_string(), check.check_key.name) == ("retrieval_quality", "quality_drop")
    [version] = asset.code_versions_by_key.values()
    monkeypatch.setenv("EMBEDDING_SEARCH_MODE", "text")
    [[other], _] = quality_assets(SPEC)
    assert version is not None
    assert [*other.code_versions_by_key.values()] != [version], "another way of asking has other numbers"
    done = subprocess.run([sys.executable, "-c", DESCRIBE], capture_output=True, text=True, check=True)
    parents, checks, jobs = json.loads(done.stdout)
    assert parents["retrieval_quality"] == ["pgvector_index_health"]
    assert "quality_drop" in checks
    embedded = ["chunk_embeddings", "chunks_pending", "pgvector_index_health"]
    assert jobs == {"embed_chunks": embedded, "purge_runs": []}, "by no sensor or schedule"


def materialize(instance):
    [retrieval_quality], [quality_drop] = quality_assets(SPEC)
    result = dagster.materialize(
        [*defs.assets, retrieval_quality, quality_drop],
        instance=instance,
        resources=defs.resources,
        selection=dagster.AssetSelection.assets(retrieval_quality),
    )
    [event] = result.asset_materializations_for_node("retrieval_quality")
    evaluations = result.get_asset_check_evaluations()
    return {name: entry.value for name, entry in event.metadata.items()}, evaluations


def test_a_fall_is_noticed_and_can_be_accepted(settings, database, instance, monkeypatch, tmp_path, run):
    insert_documents(database)
    embed_pending(settings, database=database)
    path = write_questions(tmp_path / "questions.jsonl", *QUESTIONS)
    monkeypatch.setenv("EMBEDDING_EVALUATION_QUERIES", str(path))
    metadata, [verdict] = materialize(instance)
    assert verdict.passed
    assert (metadata["questions"], metadata["judgements_unmatched"], metadata["accepted"]) == (3, 0, True)
    assert metadata["ndcg_at_10"] > 0.9
    assert metadata["quality"].startswith("![nDCG@10")

    execute(database, "DELETE FROM knowledge_base")
    insert_documents(database, [("else.md", "Else", f"text {n}") for n in range(3)])
    embed_pending(settings, database=database)
    metadata, [verdict] = materialize(instance)
    assert not verdict.passed
    assert verdict.severity == dagster.AssetCheckSeverity.WARN
    assert "3 of 3 judgements fit no chunk" in verdict.description
    assert metadata["accepted"] is False

    assert run("evaluate", "--accept")[0] == 0
    _, [verdict] = materialize(instance)
    assert verdict.passed


def test_an_empty_table_needs_no_model(settings, database, instance, monkeypatch):
    monkeypatch.setenv("EMBEDDING_EVALUATION_QUERIES", "/nowhere")
    metadata, [verdict] = materialize(instance)
    assert (metadata["chunks"], "is empty" in metadata["note"]) == (0, True)
    assert (verdict.passed, verdict.description) == (True, "nothing was measured yet")
