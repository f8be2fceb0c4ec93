"""Loads after which the index is maintained by itself; ticks are Dagster's own, on real runs."""

import asyncio
import time

import pytest
from dagster import (
    AssetKey,
    AssetMaterialization,
    AssetSelection,
    DagsterEvent,
    DagsterEventType,
    DagsterRunStatus,
    build_sensor_context,
    evaluate_automation_conditions,
)
from dagster._core.definitions import freshness_evaluator
from dagster._core.definitions.freshness_evaluator import TimeWindowFreshnessPolicyEvaluator
from dagster._core.events import AssetMaterializationPlannedData, StepMaterializationData
from dagster._core.loader import LoadingContextForTest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.test_utils import create_run_for_test

from embedding_assets.definitions import defs
from embedding_assets.defs import automation
from embedding_assets.defs.jobs import range_tags
from embedding_assets.planning import PrefixRange
from embedding_assets_tests.support.defined import SPEC, index_checks, index_health_sensor
from embedding_assets_tests.support.fakes import insert_chunks
from embedding_assets_tests.support.materializing import materialize

HEALTH, LOAD = AssetKey("pgvector_index_health"), AssetKey("chunk_embeddings")
ON_INDEX = {check.name for check in index_checks.check_keys}
ALONE = AssetSelection.assets(LOAD).without_checks()


@pytest.fixture
def tick(instance):
    """Evaluates the condition; whether it asks for a run. One tick, on which nothing can be new, is past."""
    cursor = None

    def tick():
        nonlocal cursor
        result = evaluate_automation_conditions(defs, instance, AssetSelection.all(), cursor=cursor)
        cursor = result.cursor
        return result.get_num_requested(HEALTH) == 1

    assert not tick()
    return tick


@pytest.fixture
def texts(database):
    """Inserts pending chunks of every prefix."""
    numbers = iter(range(1, 1000))
    return lambda: insert_chunks(
        database, [f"round {n} of words number {m}" for n in [next(numbers)] for m in range(33)]
    )


def load(instance, **options):
    """A run of chunk_embeddings, without its checks."""
    return materialize(instance, selection=ALONE, **options)


def add_load(instance, partitions, *, status=DagsterRunStatus.SUCCESS, embedded=5, loaded=True, **metadata):
    """A run of chunk_embeddings alone, as Dagster records one; returns it."""
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("location"), "repository")
    run = create_run_for_test(
        instance,
        job_name="__ASSET_JOB",
        status=status,
        asset_selection=frozenset([LOAD]),
        remote_job_origin=RemoteJobOrigin(repository, "__ASSET_JOB"),
    )
    for partition in partitions:
        planned = AssetMaterializationPlannedData(LOAD, partition=partition)
        event = DagsterEvent(
            DagsterEventType.ASSET_MATERIALIZATION_PLANNED.value, run.job_name, event_specific_data=planned
        )
        instance.report_dagster_event(event, run.run_id)
    for partition in partitions if loaded else ():
        done = AssetMaterialization(LOAD, partition=partition, metadata={"run_embedded": embedded, **metadata})
        event = DagsterEvent(
            DagsterEventType.ASSET_MATERIALIZATION.value,
            run.job_name,
            step_key="chunk_embeddings",
            event_specific_data=StepMaterializationData(done),
        )
        instance.report_dagster_event(event, run.run_id)
    return run


def test_one_partition_loaded_alone_is_followed_by_one_run(texts, instance, tick):
    """Although the other fifteen were never materialized."""
    texts()
    assert load(instance, partition="3").success

    assert tick()
    assert not tick()
    assert not tick()


def test_a_range_loaded_alone_is_followed_by_one_run(texts, instance, tick):
    texts()
    assert load(instance).success

    assert tick()
    assert not tick()
    texts()
    assert load(instance).success
    assert tick(), "the next load counts again"


def test_a_run_that_looks_after_the_index_itself_is_followed_by_none(texts, instance, tick):
    texts()
    assert materialize(instance).success

    assert not tick()


def test_the_job_of_sensor_and_schedule_is_followed_by_none(texts, instance, tick):
    texts()
    job = defs.resolve_job_def(SPEC.job_name)
    assert job.execute_in_process(instance=instance, tags=range_tags(PrefixRange("0", "f"))).success

    assert not tick()


def test_neither_is_such_a_run_whose_index_has_failed(texts, instance, tick, monkeypatch):
    """It is reported already; trying again at once would fail again."""

    def fail(*args):
        raise OSError("no space left on device")

    texts()
    monkeypatch.setattr("embedding_assets.defs.assets.build_indexes", fail)
    assert not materialize(instance, raise_on_error=False).success

    assert not tick()


def test_nothing_loaded_nothing_done(texts, instance, tick):
    assert load(instance).success, "of an empty table"
    assert not tick()
    texts()
    assert load(instance).success
    assert tick()
    assert load(instance).success, "of a table where all is embedded"
    assert not tick()


def test_chunks_pending_alone_is_no_load(texts, instance, tick):
    texts()
    assert materialize(instance, selection=AssetSelection.assets("chunks_pending")).success

    assert not tick()


def test_while_the_load_goes_on_there_is_none(texts, instance, tick, monkeypatch):
    """Before its vectors are recorded, and while its checks run."""
    during = []
    for name in ("assets.run_metadata", "checks.judge_models"):
        module = f"embedding_assets.defs.{name}"
        real = getattr(__import__(module.rpartition(".")[0], fromlist=["_"]), name.partition(".")[2])
        monkeypatch.setattr(
            module, lambda *args, real=real, **options: (during.append(tick()), real(*args, **options))[1]
        )
    texts()

    assert materialize(instance, selection=AssetSelection.assets(LOAD)).success

    assert during == [False, False]
    assert tick()
    assert not tick()


def test_sixteen_runs_are_followed_by_one(instance, tick):
    runs = [add_load(instance, [p], status=DagsterRunStatus.STARTED, loaded=p < "8") for p in "0123456789abcdef"]
    assert not tick()
    for run in runs[:15]:
        instance.report_run_canceled(run) if run in runs[8:] else end(instance, run)
        assert not tick(), "others embed still"
    instance.report_run_canceled(runs[15])

    assert tick()
    assert not tick()


def test_a_load_that_waits_in_the_queue_is_waited_for(instance, tick):
    add_load(instance, "0")
    queued = add_load(instance, "1", status=DagsterRunStatus.QUEUED, loaded=False)
    assert not tick()
    instance.report_run_canceled(queued)

    assert tick()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, True),
        ({"embedded": 0}, False),
        ({"embedded": 0, "run_fallback_embedded": 2}, True),
        ({"status": DagsterRunStatus.FAILURE}, False),
        ({"status": DagsterRunStatus.CANCELED}, False),
        ({"loaded": False}, False),
    ],
    ids=["some", "none", "by the fallback", "a check has failed", "canceled", "not materialized"],
)
def test_which_loads_count(instance, tick, fields, expected):
    add_load(instance, "0f", **fields)

    assert tick() is expected
    assert not tick()


def test_a_load_is_not_forgotten_by_one_after_it_that_embeds_nothing(instance, tick):
    add_load(instance, "0")
    add_load(instance, "0", embedded=0)

    assert tick()


def test_a_load_that_ends_right_after_a_request_is_followed_by_another_run(instance, tick):
    add_load(instance, "0")
    assert tick()
    add_load(instance, "1")

    assert tick()
    assert not tick()


def test_a_load_that_was_killed_is_waited_for_a_while_only(instance, tick, monkeypatch):
    run = add_load(instance, "3", status=DagsterRunStatus.STARTED)
    assert not tick()
    now = time.time()
    monkeypatch.setattr(automation.time, "time", lambda: now + automation.DEAD_SECONDS - 5)
    assert not tick()
    instance.report_engine_event("a sign of life", run)
    monkeypatch.setattr(automation.time, "time", lambda: now + 2 * automation.DEAD_SECONDS)
    assert tick()
    assert not tick()


def test_somebody_was_faster(texts, instance, tick):
    texts()
    assert load(instance).success
    assert materialize(instance, selection=AssetSelection.assets(HEALTH)).success

    assert not tick()


def test_loads_of_more_than_a_page(instance, tick, monkeypatch):
    monkeypatch.setattr(automation, "_PAGE", 2)
    add_load(instance, "01234", embedded=0)
    add_load(instance, "5")

    assert tick()


def test_what_was_loaded_before_the_first_tick_is_left_to_the_night(instance):
    add_load(instance, "0")

    assert evaluate_automation_conditions(defs, instance, AssetSelection.all()).total_requested == 0


def test_the_sensor_asks_for_a_run_of_just_that_asset_with_its_checks(texts, instance):
    """As the daemon does, the cursor going along."""
    repository, cursor = defs.get_repository_def(), None
    asked = []
    for step in (None, lambda: load(instance), None):
        if step:
            texts()
            step()
        context = build_sensor_context(instance=instance, repository_def=repository, cursor=cursor)
        outcome = index_health_sensor.evaluate_tick(context)
        cursor = outcome.cursor
        asked.append([request.asset_selection for request in outcome.run_requests])
        checks = {key.name for request in outcome.run_requests for key in request.asset_check_keys or ()}
        assert checks == (ON_INDEX if outcome.run_requests else set())

    assert asked == [[], [[HEALTH]], []]


def end(instance, run):
    event = DagsterEvent(DagsterEventType.RUN_SUCCESS.value, run.job_name)
    instance.report_dagster_event(event, run.run_id)


@pytest.mark.parametrize(("hours", "state"), [(0, "PASS"), (25, "PASS"), (27, "WARN"), (37, "FAIL")])
def test_freshness_goes_by_the_latest_materialization_of_any_partition(instance, monkeypatch, hours, state):
    """Dagster's own evaluation, which its daemon makes every 30 s."""
    add_load(instance, "3")
    later = time.time() + 3600 * hours
    monkeypatch.setattr(freshness_evaluator, "get_current_timestamp", lambda: later)
    node = defs.resolve_asset_graph().get(LOAD)

    evaluation = TimeWindowFreshnessPolicyEvaluator().evaluate_freshness(LoadingContextForTest(instance), node)

    assert asyncio.run(evaluation).value == state
