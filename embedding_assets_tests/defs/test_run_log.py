import contextvars
import logging
import threading

import pytest
from dagster import DagsterInstance, asset, materialize

from embedding_assets.defs.run_log import logged_to
from embedding_assets_tests.support.fakes import insert_chunks
from embedding_assets_tests.support.materializing import materialize as materialize_table

NAME = "embedding_assets.some.module"


@pytest.fixture(autouse=True)
def plain():
    """The package's logger as it is in a project that has configured none."""
    logger = logging.getLogger("embedding_assets")
    level, root = logger.level, logging.getLogger().level
    logger.setLevel(logging.NOTSET)
    logging.getLogger().setLevel(logging.WARNING)
    yield
    logger.setLevel(level)
    logging.getLogger().setLevel(root)


def run_of(work, instance, name="thing"):
    """Level and message of what a run's log has of ours."""

    @asset(name=name)
    def thing(context):
        with logged_to(context):
            work()

    result = materialize([thing], instance=instance)
    return messages(instance, result.run_id)


def messages(instance, run_id):
    entries = [entry for entry in instance.all_logs(run_id) if entry.dagster_event is None]
    lines = [(logging.getLevelName(entry.level), entry.user_message) for entry in entries]
    return [line for line in lines if not line[1].startswith("Writing file at")]


@pytest.fixture
def bare():
    """A home that captures no loggers."""
    with DagsterInstance.ephemeral() as instance:
        yield instance


def test_lines_reach_the_log_of_a_run_with_their_levels(bare):
    def work():
        logger = logging.getLogger(NAME)
        logger.debug("not shown")
        logger.info("%d of %d", 1, 2)
        logger.warning("beware")
        logging.getLogger("some.other").warning("not ours")

    assert run_of(work, bare) == [("INFO", "1 of 2"), ("WARNING", "beware")]


@pytest.mark.parametrize("captured", [["embedding_assets"], ["root"], ["embedding_assets.some", "other"]])
def test_no_line_is_there_twice_where_dagster_captures_it(captured):
    settings = {"python_logs": {"managed_python_loggers": captured}}
    with DagsterInstance.ephemeral(settings=settings) as instance:
        assert run_of(lambda: logging.getLogger(NAME).warning("once"), instance) == [("WARNING", "once")]


def test_the_level_is_as_before_once_the_run_is_over(bare):
    run_of(lambda: None, bare)
    assert logging.getLogger("embedding_assets").level == logging.NOTSET


def test_a_level_that_the_project_has_set_holds(bare):
    logging.getLogger("embedding_assets").setLevel(logging.ERROR)
    assert run_of(lambda: logging.getLogger(NAME).warning("not shown"), bare) == []


def test_passwords_and_tracebacks_stay_outside(bare):
    def work():
        try:
            raise ValueError("a row")
        except ValueError:
            logging.getLogger(NAME).exception("at postgresql://u:hunter2@host/db")

    assert run_of(work, bare) == [("ERROR", "at postgresql://u:***@host/db")]


def test_lines_of_helper_threads_belong_to_the_run_that_is_under_way(bare):
    def work():
        logger = logging.getLogger(NAME)
        within = contextvars.copy_context()
        for target in (lambda: within.run(logger.info, "copied"), lambda: logger.info("plain")):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()

    assert run_of(work, bare) == [("INFO", "copied"), ("INFO", "plain")]


def test_two_runs_in_one_process_have_their_own_lines():
    both = threading.Barrier(2)
    found = {}

    def run(name):
        def work():
            both.wait(180)
            logging.getLogger(NAME).info("line of %s", name)
            both.wait(180)

        with DagsterInstance.ephemeral() as instance:
            found[name] = run_of(work, instance, name)

    threads = [threading.Thread(target=run, args=[name]) for name in ("one", "other")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(180)
    assert found == {name: [("INFO", f"line of {name}")] for name in ("one", "other")}


def test_a_run_over_the_table_says_what_it_does(database, bare):
    insert_chunks(database, ["one"])
    result = materialize_table(bare)
    said = [message for _, message in messages(bare, result.run_id)]
    assert "committed 1 vector" in said
    assert any(message.startswith("run finished: 1 embedded") for message in said)
    assert len(said) == len(set(said)), "a line is there twice"
