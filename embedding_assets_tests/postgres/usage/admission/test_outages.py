"""Outages: failures in a row stop everybody, and one probe at a time finds out whether it is over."""

import pytest

from embedding_assets.postgres.usage.admission import Admitted, presume, release, settle
from embedding_assets_tests.support.admission import headers


def test_failures_in_a_row_open_the_circuit_for_everybody(database, ask, enter, pass_time):
    settle(database, enter(), tokens=1, rates=None)
    reservations = [enter() for _ in range(6)]
    assert release(database, reservations.pop(), outage=True) == 0
    pass_time(30)
    for _ in range(3):
        assert 30 <= presume(database, reservations.pop()) < 60
    assert isinstance(ask(), Admitted)
    assert release(database, reservations.pop(), outage=True) >= 30
    verdict = ask()
    assert (verdict.reason, 0 < verdict.seconds <= 1) == ("outage", True)
    assert 30 <= verdict.outage_seconds < 60
    assert isinstance(ask(endpoint="another"), Admitted)
    assert ask(probe=True).reason == "outage", "not before the break is over"
    # An answer to what was sent before proves that the server is up.
    settle(database, reservations.pop(), tokens=1, rates=None)
    assert isinstance(ask(), Admitted)


@pytest.mark.parametrize("outcome", ["answered", "refused", "failed", "lost", "never recorded"])
def test_one_probe_at_a_time_is_let_through(database, ask, enter, pass_time, outcome, endpoint):
    settle(database, enter(), tokens=1, rates=None)
    other = enter()
    for _ in range(5):
        release(database, enter(), outage=True)
    pass_time(1)
    assert (ask().reason, ask(question=True).reason) == ("probe", "probe"), "no request of the backlog"
    probe = enter(probe=True)
    verdict = ask(probe=True)
    assert (verdict.reason, verdict.seconds) == ("outage", 1), "asked again soon: the probe may be answered any moment"
    release(database, other, outage=True)
    assert ask().reason == "outage", "what else fails does not let another one through"
    if outcome == "answered":
        settle(database, probe, tokens=1, rates=None)
    elif outcome == "refused":
        assert release(database, probe) == 0
    elif outcome == "failed":
        assert release(database, probe, outage=True) >= 1
    elif outcome == "lost":
        assert presume(database, probe) >= 1
    else:
        pass_time(600)
    if outcome in ("failed", "lost"):
        assert endpoint().outages == 6
        assert ask().reason == "outage"
        pass_time(2)
        enter(probe=True)
        assert ask(probe=True).reason == "outage", "again one alone"
    elif outcome == "never recorded":
        enter(probe=True)
        assert ask().reason == "outage"
    else:
        assert endpoint().outage_seconds == 0
        enter(), enter()


@pytest.mark.parametrize("give_up", [release, presume])
def test_what_is_given_up_says_nothing_about_the_endpoint(database, ask, enter, pass_time, endpoint, give_up):
    settle(database, enter(), tokens=1, rates=None)
    for reservation in [enter() for _ in range(9)]:
        assert give_up(database, reservation, given_up=True) == 0
    assert endpoint().outages == 0
    for _ in range(5):
        release(database, enter(), outage=True)
    pass_time(1)
    probe = enter(probe=True)
    assert ask().reason == "outage"
    assert give_up(database, probe, given_up=True) >= 1
    assert endpoint().outages == 5
    enter(probe=True)
    assert ask().reason == "outage", "again one alone"


def test_a_wait_for_another_reason_names_the_outage_too(database, ask, enter, pass_time):
    settle(database, enter(), tokens=1, rates=headers((6, 6)))
    release(database, enter(), outage=True, retry_after_seconds=500)
    pass_time(20)
    assert 20 <= ask().outage_seconds < 60
