"""The nightly job that deletes old runs: a log that is written to every minute stays as large as it is."""

import json
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster import AssetMaterialization, DagsterEvent, DagsterRunStatus
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluation
from dagster._core.events import StepMaterializationData
from dagster._core.test_utils import create_run_for_test, freeze_time

from embedding_assets.definitions import defs as own_defs
from embedding_assets.defs.factory import build_embedding_definitions
from embedding_assets.defs.purging import purge_runs
from embedding_assets.defs.table_spec import EMBEDDINGS, HEALTH, PENDING, TableSpec
from embedding_assets.errors import ConfigurationError
from embedding_assets.health.checks import CHECKS

pytestmark = pytest.mark.uncovered

SPEC = TableSpec(key_prefix=("shop",))
BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
KEPT_DAYS, DAYS = 2, 8
RUNS_A_DAY = 4
"""For the 1,440 of one a minute: what is deleted goes by age alone."""
CHECKED = [check for check in CHECKS if check.subject == HEALTH][:2]


@pytest.fixture
def home(tmp_path):
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance


def load(home, number):
    """A run of a small load, with those events that Dagster keeps in tables of their own."""
    keys = frozenset(map(SPEC.key, (PENDING, EMBEDDINGS, HEALTH)))
    run = create_run_for_test(home, job_name=SPEC.job_name, status=DagsterRunStatus.SUCCESS, asset_selection=keys)
    for key in keys:
        partition = "0123"[number % 4] if key == SPEC.key(EMBEDDINGS) else None
        _report(
            home, run, "ASSET_MATERIALIZATION", StepMaterializationData(AssetMaterialization(key, partition=partition))
        )
    for check in CHECKED:
        _report(home, run, "ASSET_CHECK_EVALUATION", AssetCheckEvaluation(SPEC.key(HEALTH), check.name, True, {}))
    return run.run_id


def _report(home, run, kind, data):
    home.report_dagster_event(DagsterEvent(kind, run.job_name, event_specific_data=data), run.run_id)


def kept(home):
    """How many runs, events, and results of checks there are."""
    runs = home.get_runs()
    history = home.event_log_storage.get_asset_check_execution_history
    results = [len(history(dg.AssetCheckKey(SPEC.key(HEALTH), check.name), limit=10_000)) for check in CHECKED]
    return len(runs), sum(len(home.all_logs(run.run_id)) for run in runs), sum(results)


def test_of_a_small_load_every_minute_the_log_stays_flat(home, tmp_path):
    defs = build_embedding_definitions("articles", key_prefix="shop", keep_runs_days=KEPT_DAYS)
    purge = defs.resolve_job_def("shop__purge_runs")
    sizes, newest = [], []
    for day in range(DAYS):
        for number in range(RUNS_A_DAY):
            with freeze_time(BEGIN + timedelta(days=day, hours=6 * number)):
                newest.append(load(home, number))
        with freeze_time(BEGIN + timedelta(days=day + 1)):
            assert purge.execute_in_process(instance=home).success
        sizes.append(kept(home))

    runs, events, results = zip(*sizes, strict=True)
    # With them go the runs of the job itself.
    assert set(runs[KEPT_DAYS + 1 :]) == {KEPT_DAYS * RUNS_A_DAY + KEPT_DAYS + 1}
    assert len(set(events[KEPT_DAYS + 1 :])) == len(set(results[KEPT_DAYS + 1 :])) == 1
    assert results[-1] == KEPT_DAYS * RUNS_A_DAY * len(CHECKED)
    assert len(list((tmp_path / "history" / "runs").glob("*-*.db"))) == runs[-1], "files of runs that are gone"
    assert home.get_latest_materialization_event(SPEC.key(EMBEDDINGS)).run_id == newest[-1]
    assert home.get_materialized_partitions(SPEC.key(EMBEDDINGS)) == set("0123")


def test_without_loads_what_the_catalog_shows_stays(home):
    with freeze_time(BEGIN):
        last = [load(home, number) for number in range(8)][4:]
    with freeze_time(BEGIN + timedelta(days=300)):
        defs = build_embedding_definitions("articles", key_prefix="shop", keep_runs_days=KEPT_DAYS)
        defs.resolve_job_def("shop__purge_runs").execute_in_process(instance=home)
    assert {run.run_id for run in home.get_runs() if run.job_name == SPEC.job_name} == set(last)


def test_in_postgresql_the_results_of_checks_go_too(empty_url, tmp_path):
    storage = {"postgres": {"postgres_url": empty_url}}
    (tmp_path / "dagster.yaml").write_text(json.dumps({"storage": storage, "telemetry": {"enabled": False}}))
    with dg.DagsterInstance.from_config(str(tmp_path)) as home:
        with freeze_time(BEGIN):
            for number in range(6):
                load(home, number)
        assert kept(home)[2] == 6 * len(CHECKED)
        assert purge_runs(home, older_than_days=1, key_prefix="shop") == 2
        assert (kept(home)[0], kept(home)[2]) == (4, 4 * len(CHECKED))
        home.event_log_storage.dispose()


def test_it_is_asked_for_and_ours_asks_for_a_month():
    silent = build_embedding_definitions("articles").get_repository_def()
    assert "purge_runs" not in silent.job_names
    assert [one.name for one in silent.schedule_defs] == ["nightly_schedule"]
    repository = own_defs.get_repository_def()
    schedule = repository.get_schedule_def("purge_schedule")
    assert (schedule.job_name, schedule.default_status) == ("purge_runs", dg.DefaultScheduleStatus.RUNNING)
    assert "older than 30 days" in repository.get_job("purge_runs").description
    when = datetime(2030, 1, 1, 3, 30, tzinfo=UTC)
    request = schedule(dg.build_schedule_context(scheduled_execution_time=when))
    assert request.run_key == when.isoformat()


def test_less_than_a_day_is_refused():
    with pytest.raises(ConfigurationError, match="keep_runs_days: at least 1, not 0"):
        build_embedding_definitions("articles", keep_runs_days=0)
