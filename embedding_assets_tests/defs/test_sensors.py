import re
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from dagster import DagsterRunStatus
from dagster._core.test_utils import freeze_time

from embedding_assets.config import get_settings
from embedding_assets.defs import table_runs
from embedding_assets.defs.pauses import PAUSE_AFTER_FAILURE_SECONDS
from embedding_assets.defs.table_runs import SILENT_SECONDS
from embedding_assets.postgres.estimates import count_inserts
from embedding_assets.postgres.locks import PrefixLocks, announced
from embedding_assets.providers.openai.provider import endpoint_of
from embedding_assets.providers.space_selection import select_for_run
from embedding_assets_tests.support.selecting import select_unasked
from embedding_assets_tests.support.sensor_ticks import QUEUED, add_run, insert, tick


def test_nothing_is_due(table, instance):
    assert tick(instance) == "no chunk is due"


def test_an_empty_table_that_was_never_embedded_asks_for_nothing(database, instance):
    assert tick(instance) == "no chunk is due"


def test_a_table_that_was_never_embedded_asks_for_everything(database, instance):
    insert(database, ["7"])

    assert tick(instance) == ["0-f"]


@pytest.fixture
def many(monkeypatch):
    """A single chunk is more than few."""
    monkeypatch.setattr("embedding_assets.pipeline.readiness.FEW_CHUNKS", 0)


@pytest.mark.usefixtures("many")
def test_only_the_prefixes_concerned(table, instance):
    insert(table, ["0", "1", "2", "9", "f"])

    assert tick(instance) == ["0-2", "9-9", "f-f"]


def test_few_chunks_are_one_run(table, instance, monkeypatch):
    monkeypatch.setenv("EMBEDDING_PARALLEL_RUNS", "4")
    insert(table, ["1", "2", "9", "e"])
    assert tick(instance) == ["1-e"]

    add_run(instance, "5", "6")
    assert tick(instance) == ["1-2", "9-e"], "what is in progress is never covered twice"


def test_what_is_quarantined_or_waits_or_is_no_hex_is_not_due(table, instance):
    insert(table, ["0", "1", "2", "G"])
    table.run(
        lambda c: c.execute(
            "INSERT INTO embedding_failures (chunk_hash, key, space, error_code, attempts, retry_at, quarantined) "
            "SELECT chunk_hash, ARRAY[chunk_hash], name, 'x', 1, now() + interval '1 h', chunk_hash ^@ '1' "
            "FROM knowledge_base, embedding_spaces WHERE chunk_hash ^@ '0' OR chunk_hash ^@ '1'"
        )
    )

    assert tick(instance) == ["2-2"]


@pytest.mark.usefixtures("many")
def test_with_prefixes_of_two_characters(table, instance, monkeypatch):
    monkeypatch.setenv("EMBEDDING_PREFIX_LENGTH", "2")
    insert(table, ["0a", "0b", "f0"])

    assert tick(instance) == ["0a-0b", "f0-f0"]


IMPLICIT = {"job": "__ASSET_JOB", "assets": ["chunk_embeddings"]}


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        ({"first": "0", "last": "7"}, ["8-f"]),
        ({"first": "0", "last": "7", "status": QUEUED}, ["8-f"]),
        ({"first": "0", "last": "7", "status": DagsterRunStatus.SUCCESS}, ["0-f"]),
        ({"first": "0", "last": "7", **IMPLICIT}, ["8-f"]),
        ({"first": "0", "last": "7", "job": "__ASSET_JOB", "assets": ["chunks_pending"]}, ["0-f"]),
        ({"first": "0", "last": "7", "job": "other"}, ["0-f"]),
        ({"assets": ["pgvector_index_health"]}, ["0-f"]),
        ({"partition": "4", **IMPLICIT}, ["0-3", "5-f"]),
        ({"first": "40", "last": "4f"}, ["0-3", "5-f"]),
        ({"first": "0", "last": "f"}, "16 prefixes have due chunks; runs for all of them are in progress"),
        ({}, "16 prefixes have due chunks; runs for all of them are in progress"),
    ],
    ids=[
        "started", "queued", "finished", "command line", "another asset", "another job", "index only", "one partition",
        "other prefix length", "whole range", "no range",
    ],
)  # fmt: skip
def test_a_run_in_progress_keeps_just_its_prefixes(table, instance, run, expected):
    insert(table, "0123456789abcdef")
    add_run(instance, **run)

    assert tick(instance) == expected


def test_the_next_tick_does_not_ask_for_what_is_queued(table, instance):
    insert(table, ["0", "1", "2", "9", "f"])
    for requested in tick(instance):
        add_run(instance, *requested.split("-"), status=QUEUED)

    assert "runs for all of them are in progress" in tick(instance)


def test_a_run_that_was_killed_does_not_block_for_ever(table, instance, monkeypatch):
    insert(table, ["3"])
    run = add_run(instance, "0", "f")
    now = time.time()

    monkeypatch.setattr(time, "time", lambda: now + SILENT_SECONDS - 5)
    assert "in progress" in tick(instance)
    monkeypatch.setattr(time, "time", lambda: now + SILENT_SECONDS + 5)
    assert tick(instance) == ["3-3"]
    instance.report_engine_event("a sign of life", run)
    monkeypatch.setattr(time, "time", lambda: now + SILENT_SECONDS - 5)
    assert "in progress" in tick(instance)


def test_a_silent_run_blocks_while_its_process_lives(table, instance, monkeypatch):
    insert(table, ["3", "a"])
    run = add_run(instance, "0", "7")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + SILENT_SECONDS + 5)
    with announced(table, run.run_id):
        assert tick(instance) == ["a-a"]
    assert tick(instance) == ["3-a"]
    space = select_for_run(get_settings(), table).column.space.name
    with closing(PrefixLocks(table, space)) as locks:
        locks.acquire(range(0x30, 0x31))
        assert tick(instance) == ["a-a"]
        locks.acquire(range(0x80, 0x81))
    assert tick(instance) == ["3-a"]


def test_a_cancelled_run_stays_cancelled_until_rows_come(table, instance, monkeypatch):
    insert(table, ["3"])
    run = add_run(instance, "0", "f")
    instance.report_run_canceled(run)
    cursor = []
    said = tick(instance, cursor=cursor)
    assert said.startswith(f"run {run.run_id[:8]} was cancelled, so what it left is asked for once further rows come")
    assert "dagster sensor stop new_chunks_sensor" in said

    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 86400)
    assert tick(instance, cursor=cursor) == said, "a day later"
    insert(table, ["4"])
    assert tick(instance, cursor=cursor) == ["3-4"]


@pytest.mark.usefixtures("many")
def test_of_a_large_backlog_the_server_s_count_of_inserts_shows_further_rows(table, instance):
    insert(table, ["30"])
    instance.report_run_canceled(add_run(instance, "0", "f"))
    cursor = []
    wait_for_statistics(table, 1)
    assert "cancelled" in tick(instance, cursor=cursor)
    assert "cancelled" in tick(instance, cursor=cursor)
    insert(table, ["31"])
    wait_for_statistics(table, 2)
    assert tick(instance, cursor=cursor) == ["3-3"]


def wait_for_statistics(table, rows):
    """Until the server's counters have so many inserts; sessions report theirs when they are idle for a second."""
    table.close()
    deadline = time.monotonic() + 180
    while count_inserts(table) < rows:
        assert time.monotonic() < deadline
        table.close()
        time.sleep(0.1)


def test_a_run_by_hand_ends_the_pause_after_a_cancelled_one(table, instance):
    insert(table, ["3"])
    instance.report_run_canceled(add_run(instance, "0", "f"))
    cursor = []
    assert "cancelled" in tick(instance, cursor=cursor)
    add_run(instance, "0", "1", status=DagsterRunStatus.SUCCESS, **IMPLICIT)
    assert tick(instance, cursor=cursor) == ["3-3"]


def test_a_run_by_hand_that_is_cancelled_is_not_replaced_either(table, instance):
    insert(table, ["3"])
    instance.report_run_canceled(add_run(instance, "0", "f", **IMPLICIT))
    assert "was cancelled" in tick(instance)


def test_a_cancelled_run_is_not_forgotten_for_runs_of_others(table, instance, monkeypatch):
    insert(table, ["3"])
    add_run(instance, "0", "f", status=DagsterRunStatus.SUCCESS)
    instance.report_run_canceled(add_run(instance, "0", "f", **IMPLICIT))
    theirs = {"job": "__ASSET_JOB", "assets": ["theirs"], "status": DagsterRunStatus.SUCCESS}
    cursor = []
    for _ in range(120):
        add_run(instance, **theirs)
    said = tick(instance, cursor=cursor)
    assert "was cancelled" in said
    # However many there are: it is noted.
    monkeypatch.setattr(table_runs, "_MOST_PASSED", 100)
    assert tick(instance, cursor=cursor) == said
    insert(table, ["4"])
    assert tick(instance, cursor=cursor) == ["3-4"]


@pytest.mark.parametrize("cancelled", [False, True])
def test_runs_of_others_are_hardly_read(table, instance, monkeypatch, cancelled):
    """However many there are, at each tick."""
    insert(table, ["3"])
    theirs = {"job": "__ASSET_JOB", "assets": ["theirs"], "status": DagsterRunStatus.SUCCESS}
    for _ in range(200):
        add_run(instance, **theirs)
    if cancelled:
        with freeze_time(datetime.now(UTC) + timedelta(minutes=1)):
            instance.report_run_canceled(add_run(instance, "0", "f"))
    read = []
    get = instance.get_run_records
    monkeypatch.setattr(instance, "get_run_records", lambda *a, **k: read.extend(found := get(*a, **k)) or found)
    assert ("was cancelled" in tick(instance)) is cancelled
    assert len(read) <= (2 if cancelled else 150)


def test_a_run_that_is_queued_for_long_still_blocks(table, instance, monkeypatch):
    insert(table, ["3"])
    add_run(instance, "0", "f", status=QUEUED)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 10 * SILENT_SECONDS)

    assert "in progress" in tick(instance)


def test_after_a_failure_of_what_it_asked_for_it_pauses_and_says_until_when(table, instance, monkeypatch):
    insert(table, ["3"])
    run = add_run(instance, "0", "f", asked=True)
    instance.report_run_failed(run)
    said = tick(instance)
    assert re.match(
        rf"run {run.run_id[:8]}, which this sensor had asked for, failed; .*\d\d:\d\d:\d\d UTC, in \d+ s", said
    )
    assert int(re.search(r"in (\d+) s", said)[1]) in range(
        PAUSE_AFTER_FAILURE_SECONDS - 60, PAUSE_AFTER_FAILURE_SECONDS + 1
    )

    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + PAUSE_AFTER_FAILURE_SECONDS + 1)
    assert tick(instance) == ["3-3"]


@pytest.mark.parametrize("asked_before", [False, True])
def test_a_failed_experiment_of_a_person_s_is_no_reason_to_pause(table, instance, asked_before):
    insert(table, ["3"])
    if asked_before:
        add_run(instance, "0", "f", asked=True, status=DagsterRunStatus.SUCCESS)
    instance.report_run_failed(add_run(instance, "0", "f"))

    assert tick(instance) == ["3-3"]


def test_a_success_after_a_failure_ends_the_pause(table, instance):
    insert(table, ["3"])
    instance.report_run_failed(add_run(instance, "0", "f", asked=True))
    add_run(instance, "0", "f", status=DagsterRunStatus.SUCCESS)

    assert tick(instance) == ["3-3"]


def test_runs_of_another_code_location_are_another_table_s(table, instance):
    insert(table, ["3"])
    running = add_run(instance, "0", "f", location="theirs")
    assert tick(instance, location="ours") == ["3-3"]
    assert "in progress" in tick(instance, location="theirs")
    instance.report_run_canceled(running)
    instance.report_run_failed(add_run(instance, "0", "f", location="theirs", asked=True))
    assert tick(instance, location="ours") == ["3-3"]
    assert "failed" in tick(instance, location="theirs")


def test_prefixes_that_are_worked_on_elsewhere_are_left_alone(table, instance):
    """By the command line, or by another deployment: Dagster here knows nothing of it."""
    insert(table, ["3", "a"])
    space = select_for_run(get_settings(), table).column.space.name
    with closing(PrefixLocks(table, space)) as locks:
        locks.acquire(range(0x30, 0x31))
        assert tick(instance) == ["a-a"]
        locks.acquire(range(0xA0, 0xA1))
        assert tick(instance) == "2 prefixes have due chunks; runs for all of them are in progress"


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize(("parallel", "most"), [(1, 8), (20, 20)])
def test_many_gaps_are_bridged_but_not_those_in_progress(table, instance, monkeypatch, parallel, most):
    monkeypatch.setenv("EMBEDDING_PREFIX_LENGTH", "2")
    monkeypatch.setenv("EMBEDDING_PARALLEL_RUNS", str(parallel))
    insert(table, [format(n, "02x") for n in range(0, 256, 2)])
    ranges = tick(instance)
    assert len(ranges) == most
    assert (ranges[0][:2], ranges[-1][3:]) == ("00", "fe")

    add_run(instance, "80", "8f")
    ranges = tick(instance)
    assert len(ranges) == most
    assert not [r for r in ranges if r[:2] <= "8f" and r[3:] >= "80"]


@pytest.mark.usefixtures("many")
def test_on_a_cluster_one_run_spreads_the_work(table, instance, monkeypatch):
    monkeypatch.setenv("EMBEDDING_RAY_ADDRESS", "10.0.0.5:6379")
    insert(table, ["0", "4", "a"])
    assert tick(instance) == ["0-a"]


@pytest.mark.usefixtures("many")
def test_a_large_backlog_is_spread_over_as_many_runs_as_wanted(table, instance, monkeypatch):
    insert(table, "0123456789abcdef")
    assert tick(instance) == ["0-f"]
    monkeypatch.setenv("EMBEDDING_PARALLEL_RUNS", "4")
    assert tick(instance) == ["0-3", "4-7", "8-b", "c-f"]
    # Those that are under way count.
    add_run(instance, "0", "3")
    add_run(instance, "4", "7", status=QUEUED)
    assert tick(instance) == ["8-b", "c-f"]
    add_run(instance, "8", "9")
    assert tick(instance) == ["a-f"]


def test_a_first_load_is_spread_too(settings, database, instance, monkeypatch):
    monkeypatch.setenv("EMBEDDING_PARALLEL_RUNS", "2")
    insert(database, ["3"])
    assert tick(instance) == ["0-7", "8-f"]


@pytest.fixture
def by_api(settings, database, monkeypatch):
    """The settings of an API at a dollar for a token, whose space is there."""
    for name, value in (("PROVIDER", "openai"), ("OPENAI_API_KEY", "k"), ("OPENAI_USD_PER_MILLION_TOKENS", "1000000")):
        monkeypatch.setenv(f"EMBEDDING_{name}", value)
    select_unasked(get_settings(), database)
    return database


def test_it_probes_the_space_that_a_run_would_embed_into(by_api, instance):
    """Also where resources configure it."""
    insert(by_api, ["3", "7"])
    assert tick(instance) == ["3-7"]
    assert tick(instance, provider="local") == ["0-f"], "that space is still to be made"
    assert tick(instance, openai_model="text-embedding-3-large") == ["0-f"]


def test_with_a_budget_used_up_it_says_when_it_goes_on(by_api, instance, monkeypatch):
    insert(by_api, ["3"])
    monkeypatch.setenv("EMBEDDING_BUDGET_USD_PER_DAY", "1")
    assert "EMBEDDING_BUDGET_USD_PER_DAY leaves $1.00; it resets at midnight UTC" in tick(instance)
    assert tick(instance, usd_per_day=1000.0) == ["3-3"]

    run = add_run(instance, "0", "f", asked=True)
    instance.report_run_failed(run)
    assert "midnight" in tick(instance), "rather than that the run it stopped has failed"


def test_near_a_budget_the_tick_s_log_warns(by_api, instance, monkeypatch, capsys):
    insert(by_api, ["3"])
    monkeypatch.setenv("EMBEDDING_BUDGET_USD_PER_MONTH", "10")
    by_api.run(
        lambda c: c.execute(
            "INSERT INTO embedding_spending (period, key, usd) "
            "VALUES ('month', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM'), 7.9)"
        )
    )
    assert tick(instance) == ["3-3"]
    assert "WARNING" not in capsys.readouterr().err
    by_api.run(lambda c: c.execute("UPDATE embedding_spending SET usd = 8"))
    assert tick(instance) == ["3-3"]
    assert re.search(r"WARNING - .*EMBEDDING_BUDGET_USD_PER_MONTH\) are spent, 80%", capsys.readouterr().err)


def test_while_the_api_is_down_it_waits(by_api, instance):
    insert(by_api, ["3"])
    by_api.run(
        lambda c: c.execute(
            "INSERT INTO embedding_endpoints (name, open_until) VALUES (%s, now() + interval '1 min')",
            [endpoint_of(get_settings().openai)],
        )
    )
    assert re.match(r"the API at api\.openai\.com is down and is asked again at \d\d:\d\d:\d\d UTC$", tick(instance))
    assert tick(instance, fallback="local") == ["3-3"]
