"""A run that embeds nothing does not make a failed check pass."""

import pytest
from dagster import ReexecutionOptions, execute_job, reconstructable

from embedding_assets.config import get_settings
from embedding_assets.definitions import defs
from embedding_assets.defs.effort import THOROUGH_TAG
from embedding_assets.defs.jobs import range_tags
from embedding_assets.planning import PrefixRange
from embedding_assets.providers.space_selection import select_for_run
from embedding_assets_tests.support.fakes import insert_chunks
from embedding_assets_tests.support.generator_runs import texts
from embedding_assets_tests.support.materializing import materialize
from embedding_assets_tests.support.tiny_model import DIMENSIONS, save_tiny_model

pytestmark = pytest.mark.uncovered

EVERYTHING = {**range_tags(PrefixRange("0", "f")), THOROUGH_TAG: "true"}


@pytest.fixture(autouse=True)
def tiny(settings, tmp_path, monkeypatch):
    """A model that is loaded at once."""
    monkeypatch.setenv("EMBEDDING_MODEL_NAME", str(save_tiny_model(tmp_path / "tiny")))
    monkeypatch.setenv("EMBEDDING_DIMENSIONS", str(DIMENSIONS))


def verdict(result):
    [found] = [e for e in result.get_asset_check_evaluations() if e.check_name == "vectors_match_model"]
    return found


def test_the_verdict_of_the_run_that_looked_stands_until_another_looks(database, beside, instance, monkeypatch):
    insert_chunks(database, texts(5))
    assert verdict(materialize(instance)).passed
    column = select_for_run(get_settings(), database).column.name
    wrong = str([1 / DIMENSIONS**0.5] * DIMENSIONS)
    beside.execute(f"UPDATE knowledge_base SET {column} = %s::vector", [wrong])
    looked = materialize(instance, tags=EVERYTHING, raise_on_error=False)
    assert not verdict(looked).passed

    monkeypatch.setattr("embedding_assets.health.audit.audit_space", lambda *_: pytest.fail("loaded a model"))
    for _ in range(2):
        after = verdict(materialize(instance, raise_on_error=False))
        assert not after.passed
        assert after.severity is verdict(looked).severity
        assert after.description.startswith(f"nothing was embedded since run {looked.run_id[:8]} looked; it said: ")
        assert after.description.endswith(verdict(looked).description)
        assert after.metadata["kept_from_run"].value == looked.run_id
        assert after.metadata["mismatched"].value == 5


def embed_chunks():
    return defs.resolve_job_def("embed_chunks")


def test_a_run_that_is_started_again_from_its_failure_looks_again(database, beside, instance):
    tags = range_tags(PrefixRange("0", "f"))
    insert_chunks(database, texts(5))
    assert verdict(materialize(instance)).passed
    column = select_for_run(get_settings(), database).column.name
    beside.execute(f"CREATE TABLE kept AS SELECT chunk_hash, {column} AS vector FROM knowledge_base")
    beside.execute(f"UPDATE knowledge_base SET {column} = %s::vector", [str([1 / DIMENSIONS**0.5] * DIMENSIONS)])
    insert_chunks(database, texts(10)[5:])
    failed = embed_chunks().execute_in_process(instance=instance, tags=tags, raise_on_error=False)
    assert not verdict(failed).passed
    beside.execute(f"UPDATE knowledge_base k SET {column} = vector FROM kept WHERE kept.chunk_hash = k.chunk_hash")

    options = ReexecutionOptions.from_failure(failed.run_id, instance)
    with execute_job(reconstructable(embed_chunks), instance, reexecution_options=options, tags=tags) as again:
        assert again.success
        judged = [e for e in again.all_events if e.event_type_value == "ASSET_CHECK_EVALUATION"]
    found = {e.asset_check_evaluation_data.check_name: e.asset_check_evaluation_data for e in judged}
    assert found["vectors_match_model"].passed
    assert "kept_from_run" not in found["vectors_match_model"].metadata
