"""What an endpoint still allows: buckets by settings and headers, the circuit breaker, one row that all lock."""

import dataclasses
import threading

import pytest

from embedding_assets.postgres.usage.endpoints import (
    Bucket,
    Endpoint,
    RateHeaders,
    RateLimits,
    ask_endpoint,
    lock_endpoint,
    outage_until,
    save_endpoint,
)

UNKNOWN = Bucket(configured=None, learned=None, available=None, admitted=0)
NEW = Endpoint("e", 1000.0, UNKNOWN, UNKNOWN, None, None, None, None, 0, None)


def bucket(available: float | None, *, configured: int | None = None, learned: int | None = None) -> Bucket:
    return Bucket(configured, learned, available, admitted=0)


@pytest.mark.parametrize(
    ("configured", "learned", "limit"), [(None, None, None), (60, None, 60), (None, 90, 90), (60, 90, 60), (90, 60, 60)]
)
def test_the_lower_limit_is_in_force(configured, learned, limit):
    assert bucket(None, configured=configured, learned=learned).limit == limit


def test_a_bucket_refills_continuously_to_a_minute_s_worth():
    half = bucket(30.0, configured=60)
    assert half.refilled(0.0) == half
    assert half.refilled(0.5).available == pytest.approx(30.5)
    assert half.refilled(29.0).available == pytest.approx(59.0)
    assert half.refilled(3600.0).available == 60
    assert half.refilled(-5.0) == half, "the clock was set back"
    assert bucket(-60.0, configured=60).refilled(30.0).available == pytest.approx(-30.0)
    assert bucket(100.0, configured=60).refilled(0.0).available == 60, "the limit was lowered"
    assert bucket(30.0).refilled(9.0).available is None, "the limit was taken away"


@pytest.mark.parametrize(
    ("available", "amount", "seconds"),
    [
        (10.0, 10, 0.0),
        (9.0, 10, 1.0),
        (0.0, 1, 1.0),
        (-5.0, 1, 6.0),
        (59.0, 10_000, 1.0),  # larger than the bucket: when that is full
        (60.0, 10_000, 0.0),
    ],
)
def test_how_long_until_something_may_be_used(available, amount, seconds):
    waiting = bucket(available, configured=60)
    assert waiting.wait_seconds(amount) == pytest.approx(seconds)
    # Waiting that long, and not a moment longer, is enough.
    assert waiting.refilled(waiting.wait_seconds(amount)).wait_seconds(amount) == 0


def test_what_is_larger_than_the_bucket_is_paid_off_afterwards():
    after = bucket(60.0, configured=60).taken(600)
    assert (after.available, after.admitted) == (-540.0, 600)
    assert after.wait_seconds(1) == pytest.approx(541.0)


def test_without_a_limit_nothing_waits_but_all_is_counted():
    free = UNKNOWN.taken(7).taken(8)
    assert (free.available, free.admitted, free.wait_seconds(10**9)) == (None, 15, 0.0)
    assert free.emptied() == free.started() == free


HEADERS = {
    "more is left than was thought": (bucket(3.0, learned=600), (600, 400, 0), 395.0),
    "less is left than was thought": (bucket(400.0, learned=600), (600, 3, 0), -2.0),
    "later requests are not in it": (bucket(400.0, learned=600), (600, 100, 40), 55.0),
    "what is in flight may exceed it": (bucket(400.0, learned=600), (600, 10, 40), -5.0),
    "never more than the limit": (bucket(None), (600, 9999, 0), 600.0),
    "the limit is learned": (UNKNOWN, (600, 599, 0), 594.0),
    "a limit without what is left": (UNKNOWN, (600, None, 0), 50.0),
    "what is left without a limit": (UNKNOWN, (None, 599, 0), None),
    "a limit of nothing is none": (UNKNOWN, (0, 0, 0), None),
    "ours, and what is left": (bucket(3.0, configured=600), (None, 400, 0), 395.0),
    "ours is the same": (bucket(3.0, configured=600), (600, 400, 0), 395.0),
    "ours is higher": (bucket(3.0, configured=6000), (600, 400, 0), 395.0),
    "ours is lower and is counted here": (bucket(3.0, configured=60), (600, 400, 0), 3.0),
    "ours is lower, but others use theirs up": (bucket(30.0, configured=60), (600, 10, 0), 5.0),
    "no header, no limit": (UNKNOWN, (None, None, 0), None),
    "no header, a limit of ours": (bucket(None, configured=600), (None, None, 0), 50.0),
    "no header, and it has started": (bucket(3.0, configured=600), (None, None, 0), 3.0),
}


@pytest.mark.parametrize(("before", "said", "available"), HEADERS.values(), ids=HEADERS)
def test_headers_correct_a_bucket_in_both_directions(before, said, available):
    """Half a second's worth of the endpoint's limit is left alone; at first there are five seconds' worth of ours."""
    assert before.corrected(*said).available == (None if available is None else pytest.approx(available))


def test_a_learned_limit_stays_until_another_is_reported():
    given = UNKNOWN.corrected(600, 100, 0)
    assert [given.corrected(limit, 50, 0).learned for limit in (None, 0, -1, 1200)] == [600, 600, 600, 1200]


def test_a_refusal_that_does_not_say_what_is_left():
    assert bucket(30.0, configured=60).emptied().available == 0
    assert bucket(-3.0, configured=60).emptied().available == -3


def test_settings_that_change_take_effect():
    limits = RateLimits(60, 6000)
    assert NEW.configured(limits).requests == bucket(None, configured=60), "one request finds out first"
    answered = dataclasses.replace(NEW, corrected_by=1)
    assert answered.configured(limits).requests.available == pytest.approx(5.0)
    assert answered.configured(limits).tokens.available == pytest.approx(500.0)
    assert answered.configured(limits).configured(limits) == answered.configured(limits)
    assert answered.configured(limits).configured(RateLimits(None, None)) == answered


def test_both_limits_hold():
    endpoint = dataclasses.replace(NEW, requests=bucket(0.0, learned=60), tokens=bucket(400.0, learned=600))
    assert endpoint.wait_seconds(400) == pytest.approx(1.0)
    assert endpoint.wait_seconds(420) == pytest.approx(2.0)


# The circuit breaker


def fail(endpoint: Endpoint, times: int, *, probe: bool = False, every: float = 1.0) -> Endpoint:
    for _ in range(times):
        endpoint = dataclasses.replace(endpoint, now=endpoint.now + every).failed(probe=probe)
    return endpoint


def test_five_failures_in_a_row_open_the_circuit():
    four = fail(NEW, 4)
    assert (four.outages, four.open_until, four.open_seconds) == (4, None, 0)
    five = fail(four, 1)
    assert five.outages == 5
    assert 0.75 <= five.open_seconds <= 1
    assert (five.failing_since, five.outage_seconds) == (1001.0, 4.0)
    assert fail(four.answered(), 4).open_until is None
    assert five.answered() == dataclasses.replace(NEW, now=five.now)


def test_what_fails_while_the_circuit_is_open_says_nothing_new():
    opened = fail(NEW, 5)
    flood = fail(opened, 100, every=0.001)
    assert (flood.outages, flood.open_until) == (5, opened.open_until)
    assert flood.outage_seconds == pytest.approx(4.1)


def test_each_probe_that_fails_doubles_the_break_up_to_a_quarter_of_a_minute():
    endpoint, breaks = fail(NEW, 5), []
    for _ in range(9):
        breaks.append(endpoint.open_seconds)
        endpoint = dataclasses.replace(endpoint, now=endpoint.open_until).admitted(10)
        assert endpoint.open_seconds == pytest.approx(10), "a probe whose process died expires soon"
        endpoint = fail(endpoint, 1, probe=True)
    for seconds, longest in zip(breaks, [1, 2, 4, 8, 15, 15, 15, 15, 15], strict=True):
        assert 0.75 * longest - 1e-6 <= seconds <= longest + 1e-6
    assert len({seconds / longest for seconds, longest in zip(breaks[-3:], [15] * 3, strict=True)}) > 1, "no jitter"


def test_the_break_stays_finite():
    endpoint = dataclasses.replace(fail(NEW, 5), outages=10**6)
    assert fail(endpoint, 1, probe=True).open_seconds <= 15


def test_failures_far_apart_are_not_one_outage():
    failing = fail(NEW, 5, every=800)
    assert failing.outage_seconds == pytest.approx(3200)
    later = dataclasses.replace(failing, now=failing.now + 901)
    assert later.outage_seconds == 0
    again = later.failed(probe=False)
    assert (again.outages, again.outage_seconds) == (1, 0)


def test_a_server_that_does_not_answer_in_time_is_asked_a_short_text_first():
    slow = NEW.failed(probe=False, slow=True)
    assert (slow.outages, slow.open_until, slow.open_seconds) == (1, NEW.now, 0)
    assert slow.answered().open_until is None
    failed = slow.failed(probe=True, slow=True)
    assert 0.75 <= failed.open_seconds <= 1, "a probe that fails leaves the circuit open"


@pytest.mark.parametrize(("seconds", "kept"), [(30.0, 30.0), (-3.0, 0.0), (1e12, 86_400.0)])
def test_retry_after_is_obeyed_within_reason(seconds, kept):
    blocked = NEW.blocked(seconds)
    assert blocked.blocked_seconds == kept
    assert blocked.blocked(kept / 2) == blocked, "the longest wait counts"


# The row


def test_an_endpoint_is_kept_as_it_was_saved(database, beside):
    headers = RateHeaders(600, 500, 60_000, 50_000)

    def change(connection) -> Endpoint:
        endpoint = lock_endpoint(connection, "one").configured(RateLimits(6000, 600_000)).admitted(70)
        endpoint = fail(endpoint.corrected(12, headers, (0, 0)).blocked(90.0), 5, every=0.0)
        save_endpoint(connection, endpoint)
        return endpoint

    assert database.run(lambda connection: lock_endpoint(connection, "another")).corrected_by is None
    saved = database.run(change)
    read = database.run(lambda connection: lock_endpoint(connection, "one"))
    assert (read.corrected_by, read.outages) == (12, 5)
    assert (read.requests.limit, read.requests.configured, read.requests.admitted) == (600, 6000, 1)
    assert (read.tokens.limit, read.tokens.configured, read.tokens.admitted) == (60_000, 600_000, 70)
    refilled = 500 - 5 + 10 * (read.now - saved.now)
    assert read.requests.available == pytest.approx(min(refilled, 600), abs=1e-3)
    for name in ("blocked_until", "failing_since", "failed_at", "open_until"):
        assert getattr(read, name) == pytest.approx(getattr(saved, name), abs=1e-5)
    assert beside.execute("SELECT name, outages FROM embedding_endpoints ORDER BY name").fetchall() == [
        ("another", 0),
        ("one", 5),
    ]


def test_times_do_not_depend_on_a_time_zone(database, beside):
    """Where the session's clocks change, a difference of its local times is off by an hour."""
    beside.execute("INSERT INTO embedding_endpoints (name, requests_learned, requests_available, refilled_at) "
                   "VALUES ('e', 60, 0, now() - interval '10 seconds')")  # fmt: skip

    def read(connection) -> Endpoint:
        connection.execute("SET LOCAL TimeZone = 'Australia/Lord_Howe'")
        save_endpoint(connection, lock_endpoint(connection, "e").blocked(100))
        return lock_endpoint(connection, "e")

    endpoint = database.run(read)
    assert 99 < endpoint.blocked_seconds <= 100
    assert 10 <= endpoint.requests.available <= 30
    [[now]] = beside.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchall()
    assert now - 30 < endpoint.now <= now


def test_the_clock_is_read_when_the_lock_is_had(database):
    moments: list[float] = []
    with database.connect() as first:
        lock_endpoint(first, "e")
        first.commit()
        lock_endpoint(first, "e")
        waiter = threading.Thread(
            target=lambda: moments.append(database.run(lambda connection: lock_endpoint(connection, "e")).now)
        )
        waiter.start()
        waiter.join(0.3)
        assert waiter.is_alive()
        [released] = first.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
        first.commit()
    waiter.join(180)
    assert moments[0] >= released


def test_an_endpoint_that_two_meet_for_the_first_time_is_one(database):
    found: list[Endpoint] = []
    with database.connect() as first:
        endpoint = lock_endpoint(first, "e")
        save_endpoint(first, dataclasses.replace(endpoint, outages=3))
        second = threading.Thread(
            target=lambda: found.append(database.run(lambda connection: lock_endpoint(connection, "e")))
        )
        second.start()
        second.join(0.3)
        assert second.is_alive()
        first.commit()
    second.join(180)
    assert found[0].outages == 3


def test_a_reservation_that_is_gone_has_no_endpoint(database):
    assert database.run(lambda connection: ask_endpoint(connection, reservation=12345)()) is None


def test_when_an_endpoint_that_is_down_is_asked_again(database, beside):
    assert outage_until(database, "e") is None
    beside.execute("SET TimeZone = 'UTC'")
    beside.execute("INSERT INTO embedding_endpoints (name, open_until) VALUES ('e', now() + interval '1 hour')")
    [[until]] = beside.execute("SELECT open_until FROM embedding_endpoints").fetchall()
    assert f"{outage_until(database, 'e'):%H:%M}" == f"{until:%H:%M}"
    assert outage_until(database, "another") is None
    beside.execute("UPDATE embedding_endpoints SET open_until = now() - interval '1 second'")
    assert outage_until(database, "e") is None
