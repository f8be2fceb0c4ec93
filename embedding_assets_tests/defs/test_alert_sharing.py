"""Which sensor posts a failed run over two tables, whichever of them is on, off or new."""

import logging
from types import SimpleNamespace

import pytest
from dagster import AssetKey, DagsterRunStatus, Definitions, build_sensor_context
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    SensorInstigatorData,
)
from dagster._core.test_utils import create_run_for_test, instance_for_test
from dagster._daemon.sensor import _handle_run_reactions

from embedding_assets.defs.factory import build_embedding_definitions
from embedding_assets_tests.support.webhook import Webhook

LOCATION = RegisteredCodeLocationOrigin("location")
REPOSITORY = RemoteRepositoryOrigin(LOCATION, "repository")


@pytest.fixture
def instance():
    """An instance that keeps the state of sensors, which one in memory does not."""
    with instance_for_test() as instance:
        yield instance


class Sensors:
    """Those on failed runs of the tables ``first`` and ``second``, with what the daemon keeps of their ticks."""

    def __init__(self, instance, **of_second):
        first = build_embedding_definitions(key_prefix="first")
        second = build_embedding_definitions(key_prefix="second", settings=of_second)
        self._repository = Definitions.merge(first, second).get_repository_def()
        self._instance = instance
        self._states = {}

    def tick(self, *prefixes):
        """The outcome of each, of which the first only notes where the log ends."""
        return [self._tick(f"{prefix}__failed_runs_sensor") for prefix in prefixes]

    def switch(self, prefix, status):
        """Running or stopped."""
        self._keep(self._states[f"{prefix}__failed_runs_sensor"].with_status(status))

    def _tick(self, name):
        known = self._states.get(name)
        context = build_sensor_context(
            instance=self._instance,
            cursor=known and known.sensor_instigator_data.cursor,
            repository_name="repository",
            repository_def=self._repository,
        )
        context._code_location_origin = LOCATION
        outcome = self._repository.get_sensor_def(name).evaluate_tick(context)
        daemon = SimpleNamespace(logger=logging.getLogger(__name__), update_state=lambda *_, **__: None)
        reactions = outcome.dagster_run_reactions
        _handle_run_reactions(reactions, self._instance, daemon, outcome.cursor, SimpleNamespace(name=name))
        kept = known or InstigatorState(
            REPOSITORY.get_instigator_origin(name), InstigatorType.SENSOR, InstigatorStatus.DECLARED_IN_CODE
        )
        self._keep(kept.with_data(SensorInstigatorData(cursor=outcome.cursor)))
        return outcome

    def _keep(self, state):
        if state.instigator_name in self._states:
            self._instance.update_instigator_state(state)
        else:
            self._instance.add_instigator_state(state)
        self._states[state.instigator_name] = state


@pytest.fixture
def sensors(instance, webhook):
    """Both have ticked."""
    both = Sensors(instance)
    both.tick("first", "second")
    return both


@pytest.fixture
def fail_over_both(instance):
    """A run over both tables."""

    def fail():
        keys = frozenset(AssetKey([prefix, "chunk_embeddings"]) for prefix in ("first", "second"))
        origin = RemoteJobOrigin(REPOSITORY, "__ASSET_JOB")
        run = create_run_for_test(
            instance, "__ASSET_JOB", status=DagsterRunStatus.STARTED, asset_selection=keys, remote_job_origin=origin
        )
        instance.report_run_failed(run)
        return run.run_id

    return fail


@pytest.mark.parametrize("order", [("second", "first"), ("first", "second")])
def test_a_run_over_two_tables_is_posted_once(webhook, sensors, fail_over_both, order):
    run_id = fail_over_both()

    outcomes = dict(zip(order, sensors.tick(*order), strict=True))
    sensors.tick(*order)

    [post] = webhook.received
    assert (post["run_id"], post["assets"]) == (run_id, ["first/chunk_embeddings", "second/chunk_embeddings"])
    assert len(outcomes["first"].dagster_run_reactions) == 1
    assert outcomes["second"].skip_message == f"first__failed_runs_sensor posts run {run_id}, or has posted it"


def test_while_one_is_off_the_other_posts_and_it_does_not_repeat_that(webhook, sensors, fail_over_both):
    sensors.switch("first", InstigatorStatus.STOPPED)
    earlier = fail_over_both()
    sensors.tick("second")
    assert [post["run_id"] for post in webhook.received] == [earlier]

    sensors.switch("first", InstigatorStatus.RUNNING)
    later = fail_over_both()
    _, outcome = sensors.tick("second", "first")

    assert [post["run_id"] for post in webhook.received] == [earlier, later]
    assert len(outcome.dagster_run_reactions) == 1


@pytest.mark.parametrize("order", [("second", "first"), ("first", "second")])
def test_to_one_that_is_new_no_run_is_left(instance, webhook, fail_over_both, order):
    """It has not ticked, or noted in its first tick that the log ends behind the run."""
    sensors = Sensors(instance)
    sensors.tick("second")
    run_id = fail_over_both()

    sensors.tick(*order, *order)

    assert [post["run_id"] for post in webhook.received] == [run_id]


def test_one_that_tries_again_is_waited_for(webhook, sensors, fail_over_both):
    webhook.script = [503] * 3
    run_id = fail_over_both()

    first, second = sensors.tick("first", "second")
    assert first.skip_message.endswith("The next tick tries again")
    assert second.skip_message.startswith("first__failed_runs_sensor posts")
    webhook.received.clear()
    sensors.tick("second", "first")

    assert [post["run_id"] for post in webhook.received] == [run_id]


def test_where_the_tables_have_webhooks_of_their_own_each_gets_it(instance, webhook, fail_over_both):
    with Webhook() as other:
        sensors = Sensors(instance, EMBEDDING_ALERT_WEBHOOK_URL=other.url)
        sensors.tick("first", "second")
        fail_over_both()
        sensors.tick("first", "second")
        assert len(webhook.received) == len(other.received) == 1
