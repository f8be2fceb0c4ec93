"""The pipeline with an API: chosen in the launchpad or by environment, checked, paid for, and clear when it fails."""

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import dagster
import pytest
from dagster import serialize_value

from embedding_assets import EmbeddingGenerator
from embedding_assets.cli.dagster import dagster_environment
from embedding_assets.config import get_settings
from embedding_assets.definitions import defs
from embedding_assets.defs.effort import THOROUGH_TAG
from embedding_assets.defs.jobs import range_tags
from embedding_assets.encoder.occupied import occupied
from embedding_assets.errors import DatabaseError
from embedding_assets.planning import PrefixRange
from embedding_assets.postgres.catalog import describe_index
from embedding_assets.postgres.index.lifecycle import measure_space
from embedding_assets.postgres.locks import hold
from embedding_assets.postgres.spaces import list_spaces
from embedding_assets.providers.base import FIRST_TEXT
from embedding_assets_tests.support.api_runs import assert_vectors, configure, sentences
from embedding_assets_tests.support.fakes import hash_of, insert_chunks, vector_of
from embedding_assets_tests.support.materializing import metadata_of
from fake_api.server import ApiServer

pytestmark = pytest.mark.uncovered

CHECKOUT = Path(__file__).parents[2]
TEXTS = sentences(120)


@pytest.fixture
def server():
    with ApiServer(api_key="sk-canary-of-a-key") as server:
        yield server


@pytest.fixture
def launch(server, instance, monkeypatch):
    """Materialize everything as somebody in the launchpad would; only the key is in the environment."""
    monkeypatch.setenv("EMBEDDING_OPENAI_API_KEY", server.api_key)

    def launch(selection="*", *, thorough=False, **config):
        provider = {"provider": "openai", "openai_base_url": server.url, **config}
        return dagster.materialize(
            [*defs.assets, *defs.asset_checks],
            instance=instance,
            resources=defs.resources,
            selection=selection,
            tags=range_tags(PrefixRange("0", "f")) | ({THOROUGH_TAG: "true"} if thorough else {}),
            run_config={"resources": {"embedding_provider": {"config": provider}}},
            raise_on_error=False,
        )

    return launch


def evaluations(result):
    return {evaluation.check_name: evaluation for evaluation in result.get_asset_check_evaluations()}


def failing(result):
    return {name for name, evaluation in evaluations(result).items() if not evaluation.passed}


def errors_of(result):
    return [e.step_failure_data.error.to_string() for e in result.all_events if e.is_step_failure]


def test_a_run_with_the_launchpads_provider(database, launch, server, instance):
    insert_chunks(database, TEXTS)

    result = launch(usd_per_day=1.0, thorough=True)

    assert result.success
    assert failing(result) == set()
    assert len(evaluations(result)) == 15
    assert_vectors(database, TEXTS)
    assert evaluations(result)["vectors_match_model"].metadata["compared"].value == 44
    pending, run = metadata_of(result, "chunks_pending"), metadata_of(result, "chunk_embeddings")
    assert pending["estimated_usd"] > 0
    assert run["run_embedded"] == 120
    assert "| computed | by the API |" in run["run_details"]
    # The sample was not embedded yet when the run's own numbers were taken.
    assert 0 < run["run_usd"] < float(server.bill_usd)
    assert run["run_usd_per_1000"] == pytest.approx(run["run_usd"] / 0.12)
    first = float(server.usd(server.served[0].tokens))
    spent = evaluations(result)["costs_within_budget"].metadata
    assert spent["usd_today"].value == spent["usd_this_month"].value > run["run_usd"] + first * 0.999
    assert run["run_usd"] <= spent["usd_this_run"].value <= float(server.bill_usd) * 1.000001
    events = json.dumps([serialize_value(entry) for entry in instance.all_logs(result.run_id)])
    assert server.api_key not in events
    assert not any(text in events for text in TEXTS)

    again = launch()
    assert metadata_of(again, "chunk_embeddings")["run_embedded"] == 0
    assert "run_usd_per_1000" not in metadata_of(again, "chunk_embeddings")

    today = evaluations(again)["costs_within_budget"].metadata["usd_today"].value
    nearly_spent = launch(dagster.AssetSelection.all_asset_checks(), usd_per_day=today * 1.2)
    assert failing(nearly_spent) == {"costs_within_budget"}
    assert (
        "a day (EMBEDDING_BUDGET_USD_PER_DAY) are spent" in evaluations(nearly_spent)["costs_within_budget"].description
    )


def test_a_second_space_beside_the_local_one(settings, database, launch):
    insert_chunks(database, TEXTS[:20])
    EmbeddingGenerator(settings, database=database).generate_embeddings_batch()

    result = launch(thorough=True)

    assert failing(result) == set()
    local, api = list_spaces(database)
    assert (local.space.provider, local.serving, api.space.provider, api.serving) == ("local", True, "openai", False)
    assert evaluations(result)["vectors_match_model"].metadata["compared"].value == 20 + 20
    health = metadata_of(result, "pgvector_index_health")
    assert f"| index | {api.index} |" in health["details"]
    assert [row.data["index"] for row in health["spaces"].records] == [api.index, local.index]
    assert all(row.data["valid"] for row in health["spaces"].records)


def test_runs_of_an_api_need_not_take_turns(database, launch):
    insert_chunks(database, TEXTS[:20])
    with database.session() as connection, ExitStack() as stack:
        for name in occupied("cpu"):
            stack.enter_context(hold(connection, name))
        assert launch().success
    assert_vectors(database, TEXTS[:20])


def test_without_a_key_there_is_one_error(database, launch, monkeypatch, server):
    insert_chunks(database, TEXTS[:20])
    monkeypatch.delenv("EMBEDDING_OPENAI_API_KEY")

    result = launch(openai_base_url="https://api.openai.com/v1")

    [error] = errors_of(result)
    assert "ConfigurationError: OpenAI needs a key; set OPENAI_API_KEY or EMBEDDING_OPENAI_API_KEY" in error
    assert list_spaces(database) == []


def test_a_wrong_key_is_one_error_without_it(database, launch, monkeypatch, instance):
    insert_chunks(database, TEXTS[:20])
    monkeypatch.setenv("EMBEDDING_OPENAI_API_KEY", "sk-another-canary")

    result = launch()

    [error] = errors_of(result)
    assert "OPENAI_API_KEY" in error
    assert "sk-another-canary" not in json.dumps([serialize_value(entry) for entry in instance.all_logs(result.run_id)])


def test_a_limit_of_the_launchpad_stops_the_run(database, launch, server, instance):
    insert_chunks(database, TEXTS)
    limit = 1e-6 * 0.02 * 100  # a hundred tokens

    result = launch(usd_per_run=limit)

    [error] = errors_of(result)
    assert "BudgetExceededError" in error
    assert "EMBEDDING_BUDGET_USD_PER_RUN" in error
    assert float(server.bill_usd) <= limit
    lines = [entry.user_message for entry in instance.all_logs(result.run_id)]
    [warning] = [line for line in lines if "embedding them costs about" in line]
    assert "EMBEDDING_BUDGET_USD_PER_RUN leaves $0.000002" in warning


def test_what_a_limit_leaves_is_indexed(database, launch, server, monkeypatch):
    """The index had made way for the load, and the asset that builds it does not run any more."""
    insert_chunks(database, TEXTS[:2])
    assert launch().success
    [column] = list_spaces(database)
    insert_chunks(database, TEXTS[2:])
    monkeypatch.setenv("EMBEDDING_OPENAI_MAX_INPUTS", "10")
    monkeypatch.setenv("EMBEDDING_OPENAI_CONCURRENCY", "1")
    before = describe_index(database, column.index)

    # Enough for some requests of ten texts, at a token a byte at most, but not for all.
    result = launch(usd_per_run=1e-6 * 0.02 * 2500)

    [error] = errors_of(result)
    assert "BudgetExceededError" in error
    embedded = database.run(lambda c: c.execute("SELECT count(embedding) FROM knowledge_base").fetchone())[0]
    assert 2 < embedded < len(TEXTS)
    assert before.valid
    assert describe_index(database, column.index).valid
    measurement = measure_space(database, column, get_settings().index, configured=True)
    assert measurement.search.queries == min(embedded, 100)


def test_an_index_that_cannot_be_built_either_does_not_hide_why_the_run_failed(
    database, launch, server, instance, monkeypatch
):
    insert_chunks(database, TEXTS[:20])
    assert launch().success
    insert_chunks(database, TEXTS[20:])
    monkeypatch.setattr("embedding_assets.pipeline.run.build_missing", refuse)

    result = launch(usd_per_run=1e-9)

    [error] = errors_of(result)
    assert error.startswith("dagster._core.definitions.events.Failure: this run costs")
    assert "BudgetExceededError" in error
    assert "no room left" not in error
    lines = [entry.user_message for entry in instance.all_logs(result.run_id)]
    assert "no index until the next run: index idx was not built: no room left" in lines


def refuse(*_, **__):
    raise DatabaseError("index idx was not built: no room left")


def test_vectors_that_the_api_did_not_make(database, launch):
    insert_chunks(database, TEXTS[:15])
    assert failing(launch()) == set()
    [column] = list_spaces(database)
    database.run(
        lambda c: c.execute(
            f"UPDATE knowledge_base SET {column.name} = %s::vector WHERE chunk_hash = %s",
            [str(vector_of("another").tolist()), hash_of(TEXTS[3])],
        )
    )

    result = launch(thorough=True)

    assert failing(result) == {"vectors_match_model"}
    description = evaluations(result)["vectors_match_model"].description
    assert "1 of 15 vectors are not what text-embedding-3-small makes of their text" in description
    assert hash_of(TEXTS[3]) in description
    assert not result.success, "what is built on wrong vectors must wait"


def test_counting_alone_registers_no_space_and_asks_nothing(database, launch, server):
    insert_chunks(database, TEXTS[:20])

    result = launch("chunks_pending", usd_per_day=1.0)

    assert result.success
    pending = metadata_of(result, "chunks_pending")
    assert (pending["chunks"], pending["pending"], pending["embedded"]) == (20, 20, 0)
    assert pending["estimated_usd"] > 0
    assert sum(row.data["pending"] for row in pending["by_prefix"].records) == 20
    assert (list_spaces(database), server.requests) == ([], 0)


def test_counting_alone_for_another_provider_leaves_no_space(database, launch, server):
    insert_chunks(database, TEXTS[:20])
    EmbeddingGenerator(get_settings(), database=database).generate_embeddings_batch()
    before = list_spaces(database)
    columns = "SELECT column_name FROM information_schema.columns WHERE table_name = 'knowledge_base' ORDER BY 1"
    had = database.run(lambda c: c.execute(columns).fetchall())

    result = launch("chunks_pending")

    assert metadata_of(result, "chunks_pending")["pending"] == 20
    assert list_spaces(database) == before
    assert database.run(lambda c: c.execute(columns).fetchall()) == had


def test_counting_alone_says_that_the_key_is_missing(database, launch, monkeypatch):
    insert_chunks(database, TEXTS[:2])
    monkeypatch.delenv("EMBEDDING_OPENAI_API_KEY")
    [error] = errors_of(launch("chunks_pending", openai_base_url="https://api.openai.com/v1"))
    assert "OpenAI needs a key; set OPENAI_API_KEY or EMBEDDING_OPENAI_API_KEY" in error
    assert list_spaces(database) == []


@pytest.mark.parametrize("missing", ["server", "key", "budget"])
def test_an_api_that_cannot_be_asked_is_only_named(database, launch, server, monkeypatch, missing):
    insert_chunks(database, TEXTS[:15])
    assert failing(launch()) == set()
    monkeypatch.setenv("EMBEDDING_OPENAI_RETRY_SECONDS", "0")
    config, reason = {}, ""
    if missing == "server":
        server.hang_up()
    elif missing == "key":
        monkeypatch.setenv("EMBEDDING_OPENAI_API_KEY", "sk-another")
        reason = "OPENAI_API_KEY"
    else:
        config, reason = {"usd_per_run": 1e-9}, "EMBEDDING_BUDGET_USD_PER_RUN"

    result = launch(dagster.AssetSelection.all_asset_checks(), **config)

    assert failing(result) == set()
    evaluation = evaluations(result)["vectors_match_model"]
    assert "0 vectors computed again" in evaluation.description
    assert f"space {list_spaces(database)[0].space.name} is not checked: " in evaluation.description
    assert reason in evaluation.description
    assert evaluation.metadata["spaces_not_checked"].value == 1


def test_an_outage_with_a_fallback_and_its_end(database, launch, server, monkeypatch):
    insert_chunks(database, TEXTS[:30])
    assert failing(launch()) == set()
    insert_chunks(database, TEXTS[30:60])
    monkeypatch.setenv("EMBEDDING_OPENAI_RETRY_SECONDS", "0.5")
    server.outage = True

    result = launch(fallback="local", thorough=True)

    assert result.success
    assert failing(result) == {"coverage"}, "what the fallback embedded is pending in the primary space"
    api, local = list_spaces(database)
    run, health = metadata_of(result, "chunk_embeddings"), metadata_of(result, "pgvector_index_health")
    assert (run["space"], run["run_embedded"], run["run_usd"]) == (api.space.name, 0, 0.0)
    assert (run["run_fallback_space"], run["run_fallback_embedded"]) == (local.space.name, 30)
    # So that it is found quickly too.
    assert [row.data["index"] for row in health["spaces"].records] == [api.index, local.index]
    models = evaluations(result)["vectors_match_model"]
    assert models.metadata["compared"].value == 30
    assert f"space {api.space.name} is not checked: " in models.description

    server.outage = False
    monkeypatch.setenv("EMBEDDING_OPENAI_RETRY_SECONDS", "60")
    healed = launch(fallback="local", thorough=True)

    assert failing(healed) == set()
    assert metadata_of(healed, "chunk_embeddings")["run_embedded"] == 30
    assert "run_fallback_space" not in metadata_of(healed, "chunk_embeddings")
    assert evaluations(healed)["vectors_match_model"].metadata["compared"].value == 30 + 44
    assert_vectors(database, TEXTS[:60])


def test_the_command_of_the_readme_with_an_api(settings, database, server, monkeypatch, tmp_path):
    """Chosen by environment alone, in a process of its own."""
    insert_chunks(database, TEXTS)
    configure(monkeypatch, server, budget_usd_per_day="0.5")
    monkeypatch.setenv("EMBEDDING_DATA_DIR", str(tmp_path))

    command = ["-m", "dagster", "asset", "materialize", "--select", "*", "--partition-range", "0...f"]
    done = subprocess.run(
        [sys.executable, *command, "-m", "embedding_assets.definitions"],
        env=dagster_environment(get_settings()) | {"DAGSTER_HOME": str(tmp_path / "dagster")},
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )

    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-4000:]
    checks = [line for line in output.splitlines() if "ASSET_CHECK_EVALUATION" in line]
    assert len(checks) == 15
    assert all("' passed." in line for line in checks)
    assert_vectors(database, TEXTS)
    assert server.seen.keys() == {FIRST_TEXT, *TEXTS}
    assert server.api_key not in output
