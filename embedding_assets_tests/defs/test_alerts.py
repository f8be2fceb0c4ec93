"""The sensors on failures, ticked on real runs, with a real webhook on loopback."""

import dagster
import pytest
from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
    DagsterRunStatus,
    RunsFilter,
    asset,
    asset_check,
    build_sensor_context,
)
from dagster._core.definitions.sensor_definition import SensorType
from dagster._core.test_utils import create_run_for_test

from embedding_assets.defs import run_watching
from embedding_assets.errors import QuotaExceededError
from embedding_assets_tests.support.defined import SPEC, failed_checks_sensor, failed_runs_sensor
from embedding_assets_tests.support.webhook import SECRET

CANARY = "xylophonecanary"


@pytest.fixture(params=[failed_runs_sensor, failed_checks_sensor], ids=["runs", "checks"])
def sensor(request):
    return request.param


@pytest.fixture
def tick(instance):
    """Evaluates a sensor as the daemon does: the first tick only notes where the log ends."""
    cursors = {}

    def tick(sensor, **options):
        context = build_sensor_context(instance=instance, cursor=cursors.get(sensor.name), **options)
        outcome = sensor.evaluate_tick(context)
        cursors[sensor.name] = outcome.cursor
        return outcome

    tick(failed_runs_sensor)
    tick(failed_checks_sensor)
    return tick


def run(instance, *assets, **options):
    """One run, in which the assets pass for ones of the table."""
    return dagster.materialize(assets, instance=instance, raise_on_error=False, **options)


@asset(name="chunk_embeddings")
def out_of_credit():
    raise QuotaExceededError("the account has no credit left; add some\nand start again")


@asset(name="chunk_embeddings", partitions_def=SPEC.partitions)
def of_others():
    raise ValueError(CANARY)


@asset(name="pgvector_index_health")
def in_order():
    return 1


def judged(severity, *, blocking=False, name="judged", passed=False):
    @asset_check(asset=in_order, name=name, blocking=blocking)
    def check():
        return AssetCheckResult(passed=passed, severity=severity, description=CANARY)

    return check


def test_a_failed_run_is_reported_once(instance, webhook, tick):
    failed = run(instance, out_of_credit)
    reaction = tick(failed_runs_sensor)
    tick(failed_runs_sensor)

    [post] = webhook.received
    assert post["event"] == "run_failed"
    assert (post["run_id"], post["reason"]) == (failed.run_id, "STEP_FAILURE")
    message = "the account has no credit left; add some"
    assert post["steps"] == [{"step": "chunk_embeddings", "error": "QuotaExceededError", "message": message}]
    assert post["text"].endswith(f"failed, run {failed.run_id[:8]}: chunk_embeddings: QuotaExceededError: {message}")
    assert [r.error for r in reaction.dagster_run_reactions] == [None]


def test_of_others_errors_the_class_alone_and_the_partition(instance, webhook, tick):
    run(instance, of_others, partition_key="3")
    tick(failed_runs_sensor)

    [post] = webhook.received
    assert post["steps"] == [{"step": "chunk_embeddings", "error": "ValueError", "message": None}]
    assert post["partitions"] == "3"
    assert CANARY not in str(post)


def test_a_blocking_check_that_fails_is_a_failed_run(instance, webhook, tick):
    run(instance, in_order, judged(AssetCheckSeverity.ERROR, blocking=True))
    tick(failed_runs_sensor)
    tick(failed_checks_sensor)

    [post] = webhook.received
    assert (post["event"], post["checks"]) == ("run_failed", ["pgvector_index_health:judged"])
    assert post["steps"][0]["error"] == "DagsterAssetCheckFailedError"
    assert CANARY not in str(post)


def test_a_check_that_does_not_block_is_reported_by_the_other_sensor(instance, webhook, tick):
    checks = [judged(AssetCheckSeverity.ERROR), judged(AssetCheckSeverity.WARN, name="warned")]
    assert run(instance, in_order, *checks).success
    tick(failed_runs_sensor)
    tick(failed_checks_sensor)
    tick(failed_checks_sensor)

    [post] = webhook.received
    assert (post["event"], post["checks"], post["warnings"]) == ("checks_failed", ["pgvector_index_health:judged"], [])
    assert post["steps"] == []


def test_checks_of_others_in_one_run_are_theirs_to_report(instance, webhook, tick):
    @asset(key=["blog", "pgvector_index_health"])
    def of_another_table():
        return 1

    @asset_check(asset=of_another_table.key)
    def theirs():
        return AssetCheckResult(passed=False)

    assert run(instance, in_order, of_another_table, theirs).success
    assert "no check of error severity failed" in tick(failed_checks_sensor).skip_message
    run(instance, in_order, of_another_table, theirs, judged(AssetCheckSeverity.ERROR))
    tick(failed_checks_sensor)

    [post] = webhook.received
    assert post["checks"] == ["pgvector_index_health:judged"]


def test_of_a_run_in_order_nothing_is_reported(instance, webhook, tick):
    run(instance, in_order, judged(AssetCheckSeverity.WARN), judged(AssetCheckSeverity.ERROR, name="well", passed=True))
    tick(failed_runs_sensor)
    assert "no check of error severity failed" in tick(failed_checks_sensor).skip_message

    assert webhook.received == []


def test_checks_that_only_warn_are_reported_where_that_is_asked_for(instance, webhook, tick, monkeypatch):
    monkeypatch.setenv("EMBEDDING_ALERT_WARNINGS", "true")
    warned = judged(AssetCheckSeverity.WARN, name="warned")
    names = ("checks", "warnings")
    run(instance, in_order, judged(AssetCheckSeverity.WARN, passed=True))
    assert "no check failed" in tick(failed_checks_sensor).skip_message
    run(instance, in_order, warned)
    tick(failed_checks_sensor)
    run(instance, in_order, judged(AssetCheckSeverity.ERROR), warned)
    tick(failed_checks_sensor)
    run(instance, in_order, judged(AssetCheckSeverity.ERROR, blocking=True), warned)
    tick(failed_runs_sensor)

    both = (["pgvector_index_health:judged"], ["pgvector_index_health:warned"])
    assert [tuple(post[name] for name in names) for post in webhook.received] == [([], both[1]), both, both]
    assert [post["event"] for post in webhook.received] == ["checks_failed", "checks_failed", "run_failed"]


def fail_both_ways(instance):
    run(instance, out_of_credit)
    run(instance, in_order, judged(AssetCheckSeverity.ERROR))


def test_unset_it_says_which_variable_to_set(instance, tick, sensor):
    fail_both_ways(instance)

    skipped = tick(sensor).skip_message

    assert skipped.startswith("EMBEDDING_ALERT_WEBHOOK_URL is not set, so this is not posted: ")
    assert "failed, run " in skipped


def test_a_webhook_that_refuses_ends_no_tick(instance, webhook, tick, sensor, capsys):
    """The alert stands in the log; the next run has its own in the next tick."""
    fail_both_ways(instance)
    fail_both_ways(instance)
    webhook.script = [404]

    skipped = tick(sensor).skip_message
    tick(sensor)

    assert skipped.startswith("no alert was sent: the webhook of EMBEDDING_ALERT_WEBHOOK_URL refuses alerts (HTTP 404)")
    assert len(webhook.received) == 2
    assert webhook.received[0]["run_id"] != webhook.received[1]["run_id"]
    logged = capsys.readouterr().err
    assert "no alert was sent: the webhook" in logged
    assert SECRET not in skipped + logged


def test_what_failed_before_the_sensor_ever_ran_is_not_reported(instance, webhook):
    run(instance, out_of_credit)
    failed_runs_sensor.evaluate_tick(build_sensor_context(instance=instance))

    assert webhook.received == []


def of_theirs(instance, count):
    for _ in range(count):
        create_run_for_test(instance, job_name="theirs", status=DagsterRunStatus.STARTED)
    for theirs in instance.get_runs(RunsFilter(job_name="theirs", statuses=[DagsterRunStatus.STARTED])):
        instance.report_run_failed(theirs)


def test_in_a_busy_project_a_tick_passes_over_runs_of_others(instance, webhook, tick):
    of_theirs(instance, 30)
    ours = run(instance, out_of_credit)
    of_theirs(instance, 1)

    reaction = tick(failed_runs_sensor)
    skipped = tick(failed_runs_sensor).skip_message

    assert [post["run_id"] for post in webhook.received] == [ours.run_id]
    assert [one.dagster_run.run_id for one in reaction.dagster_run_reactions] == [ours.run_id]
    assert skipped == "no further run has ended as FAILURE"


def test_a_tick_ends_after_so_many_runs_and_the_next_goes_on(instance, webhook, tick, monkeypatch):
    monkeypatch.setattr(run_watching, "MOST_RUNS", 3)
    of_theirs(instance, 4)
    ours = [run(instance, out_of_credit).run_id for _ in range(2)]

    assert "is for none of these assets" in tick(failed_runs_sensor).skip_message
    assert webhook.received == []
    assert [one.dagster_run.run_id for one in tick(failed_runs_sensor).dagster_run_reactions] == ours
    assert tick(failed_runs_sensor).skip_message
    assert [post["run_id"] for post in webhook.received] == ours


def test_a_tick_ends_when_its_time_is_up(instance, webhook, tick, monkeypatch):
    monkeypatch.setattr(run_watching, "MOST_SECONDS", -1.0)
    of_theirs(instance, 1)
    ours = run(instance, out_of_credit)

    assert "is for none of these assets" in tick(failed_runs_sensor).skip_message
    assert [one.dagster_run.run_id for one in tick(failed_runs_sensor).dagster_run_reactions] == [ours.run_id]


@pytest.fixture
def hiccup(instance, monkeypatch):
    """Lets Dagster's database fail once, at the look for runs that is due after so many."""
    fetch = instance.event_log_storage.fetch_run_status_changes
    looks = []

    def due_after(count):
        looks[:] = [False] * count + [True]

    def fetch_or_fail(*arguments, **options):
        if looks and looks.pop(0):
            raise ConnectionError("server closed the connection unexpectedly")
        return fetch(*arguments, **options)

    monkeypatch.setattr(instance.event_log_storage, "fetch_run_status_changes", fetch_or_fail)
    return due_after


def test_what_was_posted_is_kept_where_a_later_look_fails(instance, webhook, tick, hiccup):
    of_theirs(instance, 1)
    ours = [run(instance, out_of_credit).run_id for _ in range(2)]
    hiccup(2)

    first, second = (tick(failed_runs_sensor).dagster_run_reactions for _ in range(2))

    assert [one.dagster_run.run_id for one in (*first, *second)] == ours
    assert len(first) == 1
    assert [post["run_id"] for post in webhook.received] == ours


def test_where_nothing_was_posted_a_look_that_fails_fails_the_tick(instance, webhook, tick, hiccup):
    run(instance, out_of_credit)
    hiccup(0)

    with pytest.raises(ConnectionError):
        tick(failed_runs_sensor)
    tick(failed_runs_sensor)
    assert len(webhook.received) == 1


def test_settings_that_are_wrong_are_shown_in_the_tick_and_later_runs_are_reported(
    instance, webhook, tick, monkeypatch
):
    run(instance, out_of_credit)
    of_theirs(instance, 1)
    with monkeypatch.context() as patch:
        patch.setenv("EMBEDDING_ALERT_WARNINGS", "perhaps")
        [reaction] = tick(failed_runs_sensor).dagster_run_reactions
    assert "EMBEDDING_ALERT_WARNINGS" in reaction.error.message
    ours = run(instance, out_of_credit)
    tick(failed_runs_sensor)
    assert [post["run_id"] for post in webhook.received] == [ours.run_id]


def test_an_alert_waits_for_a_webhook_that_is_down(instance, webhook, tick, sensor, monkeypatch):
    """A later run waits behind it, and each is delivered once."""
    monkeypatch.setattr("embedding_assets.defs.webhook.ATTEMPTS", 1)
    fail_both_ways(instance)
    fail_both_ways(instance)
    webhook.script = [503] * 2

    for _ in range(2):
        skipped = tick(sensor).skip_message
        assert "fails (HTTP 503" in skipped
        assert skipped.endswith("The next tick tries again")
    refused = {post["run_id"] for post in webhook.received}
    webhook.received.clear()
    reacted = tick(sensor).dagster_run_reactions
    tick(sensor)

    assert len(refused) == 1
    posted = [post["run_id"] for post in webhook.received]
    assert len(posted) == len(set(posted)) == 2
    assert posted[0] in refused
    assert [one.dagster_run.run_id for one in reacted] == posted


def test_it_does_not_wait_for_ever(instance, webhook, tick, sensor, monkeypatch):
    monkeypatch.setattr("embedding_assets.defs.webhook.ATTEMPTS", 1)
    fail_both_ways(instance)
    fail_both_ways(instance)
    webhook.script = [503] * 2
    tick(sensor)
    monkeypatch.setattr(run_watching, "AGAIN_SECONDS", 0.0)

    assert tick(sensor).skip_message.endswith("is tried no more")
    webhook.received.clear()
    tick(sensor)
    assert len(webhook.received) == 1, "of the other run"


def test_the_ui_shows_them_among_sensors_on_runs(sensor):
    assert sensor.sensor_type is SensorType.RUN_STATUS
    copied = sensor.with_attributes(metadata={"of": "a component"})
    assert (copied.sensor_type, copied.name, copied.metadata["of"].value) == (
        SensorType.RUN_STATUS, sensor.name, "a component"
    )  # fmt: skip
