"""An index that is missing is asked for by the sensor on new chunks."""

from contextlib import closing

import pytest
from dagster import DagsterRunStatus

from embedding_assets.postgres.index.build import build_vector_index
from embedding_assets.postgres.locks import PrefixLocks
from embedding_assets_tests.support.sensor_ticks import QUEUED, add_run, insert, tick


def test_a_dropped_index_is_asked_for_once(filled, database, beside, instance):
    cursor = []
    assert tick(instance, cursor=cursor) == "no chunk is due"
    beside.execute(f"DROP INDEX {filled.index}")
    assert tick(instance, cursor=cursor) == [["pgvector_index_health"]]
    assert tick(instance, cursor=cursor) == "no chunk is due", "what it asked for may have failed"


def test_one_that_is_dropped_again_later_is_asked_for_again(filled, database, beside, instance, settings):
    cursor = []
    beside.execute(f"DROP INDEX {filled.index}")
    assert tick(instance, cursor=cursor) == [["pgvector_index_health"]]
    build_vector_index(database, filled, settings.index)
    assert tick(instance, cursor=cursor) == "no chunk is due"
    beside.execute(f"DROP INDEX {filled.index}")
    assert tick(instance, cursor=cursor) == [["pgvector_index_health"]]


@pytest.mark.parametrize(
    "run",
    [
        {"first": "0", "last": "f"},
        {"assets": ["pgvector_index_health"], "job": "__ASSET_JOB"},
        {"assets": ["pgvector_index_health"], "status": QUEUED},
    ],
)
def test_an_index_that_a_run_is_about_to_build_is_not_asked_for(filled, beside, instance, run):
    beside.execute(f"DROP INDEX {filled.index}")
    add_run(instance, **run)
    assert tick(instance) == "no chunk is due"


def test_nor_is_that_of_a_space_that_is_loaded_elsewhere(filled, database, beside, instance):
    beside.execute(f"DROP INDEX {filled.index}")
    with closing(PrefixLocks(database, filled.space.name)) as locks:
        locks.acquire(range(0x30, 0x31))
        assert tick(instance) == "no chunk is due"


def test_while_it_pauses_after_a_failure_the_index_is_asked_for(filled, database, beside, instance):
    """A blocking check that failed has kept the run from building it."""
    beside.execute(f"DROP INDEX {filled.index}")
    insert(database, ["3"])
    instance.report_run_failed(add_run(instance, "0", "f", asked=True))
    assert tick(instance) == [["pgvector_index_health"]]


@pytest.mark.parametrize(
    "run", [{"first": "0", "last": "f"}, {"assets": ["pgvector_index_health"], "job": "embed_chunks"}]
)
def test_nor_is_one_after_a_run_that_a_person_cancelled(filled, beside, instance, run):
    beside.execute(f"DROP INDEX {filled.index}")
    instance.report_run_canceled(add_run(instance, **run))
    assert tick(instance) == "no chunk is due"
    add_run(instance, "0", "f", status=DagsterRunStatus.SUCCESS)
    assert tick(instance) == [["pgvector_index_health"]]


def test_a_table_of_which_nothing_is_embedded_lacks_no_index(table, instance):
    assert tick(instance) == "no chunk is due"
