"""Rate limits: as configured, as the headers of answers give them, and as refusals do."""

import pytest

from embedding_assets.postgres.usage.admission import Admitted, Wait, presume, release, settle
from embedding_assets.postgres.usage.endpoints import RateLimits
from embedding_assets_tests.support.admission import headers


def test_one_request_finds_out_what_is_left(database, ask, enter, endpoint):
    limits = RateLimits(600, 600_000)
    first = enter(limits)
    assert ask(limits) == Wait(0.1, "rate", 0.0)
    assert isinstance(ask(limits, endpoint="another"), Admitted)
    settle(database, first, tokens=1000, rates=headers((600, 400), (600_000, 90_000)))
    assert endpoint().requests.available == pytest.approx(395, abs=150)
    assert endpoint().tokens.available == pytest.approx(85_000, abs=150_000)
    assert endpoint().tokens.available >= 85_000
    for _ in range(20):
        enter(limits)


def test_without_headers_the_configured_rate_is_kept_from_a_few_seconds_worth_on(database, ask, enter, pass_time):
    limits = RateLimits(12, None)
    settle(database, enter(limits), tokens=1000, rates=None)
    settle(database, enter(limits), tokens=1000, rates=headers())
    verdict = ask(limits)
    assert (verdict.reason, 0 < verdict.seconds <= 5) == ("rate", True)
    pass_time(11)
    enter(limits), enter(limits)
    assert ask(limits).reason == "rate"


def test_without_any_limit_all_may_go_after_the_first_answer(database, ask, enter):
    first = enter()
    assert ask() == Wait(0.1, "rate", 0.0)
    settle(database, first, tokens=1000, rates=headers())
    for _ in range(30):
        enter()


def test_a_question_does_not_wait_for_the_first_answer(ask, enter):
    enter()
    assert ask().reason == "rate"
    enter(question=True)


def test_a_first_request_that_hangs_holds_the_others_up_for_seconds_only(database, ask, enter, pass_time):
    enter()
    assert ask() == Wait(0.1, "rate", 0.0)
    pass_time(6)
    enter()
    assert ask() == Wait(0.1, "rate", 0.0)


@pytest.mark.parametrize("outcome", ["release", "presume", "expire"])
def test_a_first_request_that_is_not_answered_is_followed_by_another(database, ask, enter, pass_time, outcome):
    first = enter(RateLimits(60, None))
    if outcome == "release":
        release(database, first, outage=True)
    elif outcome == "presume":
        presume(database, first)
    else:
        pass_time(601)
    enter(RateLimits(60, None))
    assert ask(RateLimits(60, None)).reason == "rate"


def test_a_refusal_with_headers_is_an_answer_about_the_rate(database, ask, enter, pass_time):
    release(database, enter(), rates=headers((6, 0)))
    assert ask() == Wait(5.0, "rate", 0.0), "asked again before the 10 s are over: somebody may learn more"
    pass_time(10.6)
    enter()
    assert ask().reason == "rate"


def test_the_lower_limit_counts(database, ask, enter, pass_time):
    settle(database, enter(RateLimits(6, None)), tokens=1, rates=headers((6000, 5999)))
    pass_time(10)
    enter(RateLimits(6, None))
    assert ask(RateLimits(6, None)).reason == "rate"
    ask(), pass_time(1)
    assert [type(ask()) for _ in range(9)] == [Admitted] * 9, "ours is taken away"


def test_headers_correct_in_both_directions(database, ask, enter, endpoint):
    settle(database, enter(), tokens=1, rates=headers((6, 6)))
    first, second = enter(), enter()
    settle(database, first, tokens=1, rates=headers((6, 0)))  # somebody else uses this key
    assert ask().reason == "rate"
    settle(database, second, tokens=1, rates=headers((6, 5)))  # and has stopped
    assert 4.9 < endpoint().requests.available <= 6
    for _ in range(4):
        enter()


def test_what_the_server_has_not_counted_yet_is_subtracted(database, enter, beside):
    settle(database, enter(), tokens=1, rates=headers((60, 60), (60_000, 60_000)))
    before, answered, later, lost, done = (enter(tokens=tokens) for tokens in (100, 200, 400, 800, 1600))
    presume(database, lost)
    settle(database, done, tokens=1600, rates=None)

    def left_after(reservation: int, requests: int, tokens: int) -> tuple[float, float]:
        settle(database, reservation, tokens=1, rates=headers((60, requests), (60_000, tokens)))
        return beside.execute("SELECT requests_available, tokens_available FROM embedding_endpoints").fetchone()

    # Sent earlier and still open: 1 of 100. Sent later, whatever became of them: 3 of 2,800. And half a second's worth.
    left = left_after(answered, 40, 40_000)
    assert left == (pytest.approx(40 - 4 - 0.5), pytest.approx(40_000 - 2900 - 500))
    older = left_after(before, 1, 1)
    assert older >= left, "an older answer than the last says nothing new"
    assert left_after(later, 30, 30_000) == (pytest.approx(30 - 2 - 0.5), pytest.approx(30_000 - 2400 - 500))


@pytest.mark.parametrize(
    ("rates", "left"),
    [
        (None, 9000 - 1000 - 2000),
        (headers((60, 50)), 9000 - 1000 - 2000),
        (headers(tokens=(600_000, 500_000)), 9000 - 1000 - 2000),
        (headers(tokens=(12_000, 8000)), 7900),
    ],
    ids=["no headers", "only of requests", "of a limit above ours", "of the limit that holds"],
)
def test_tokens_that_the_server_reports_are_taken_from_what_is_left(database, enter, beside, rates, left):
    limits = RateLimits(None, 12_000)
    settle(database, enter(limits), tokens=1, rates=None)
    beside.execute("UPDATE embedding_endpoints SET tokens_available = 9000, refilled_at = clock_timestamp()")
    reservation = enter(limits, tokens=1000)
    for _ in range(2):  # what is settled twice is counted once
        settle(database, reservation, tokens=3000, rates=rates)
    [available] = beside.execute("SELECT tokens_available FROM embedding_endpoints").fetchone()
    assert left <= available < left + 1000, "and what has come in since"


def test_fewer_tokens_than_were_likely_are_given_back(database, enter, beside):
    limits = RateLimits(None, 12_000)
    settle(database, enter(limits), tokens=1, rates=None)
    beside.execute("UPDATE embedding_endpoints SET tokens_available = 11900, refilled_at = clock_timestamp()")
    settle(database, enter(limits, tokens=1000), tokens=1, rates=None)
    assert beside.execute("SELECT tokens_available > 11000 AND tokens_available <= 12000 "
                          "FROM embedding_endpoints").fetchone() == (True,)  # fmt: skip


def test_a_request_larger_than_the_bucket_goes_when_that_is_full(database, ask, enter, pass_time, endpoint):
    settle(database, enter(tokens=1), tokens=1, rates=headers(tokens=(6000, 5000)))
    assert ask(tokens=30_000).reason == "rate"
    pass_time(60)
    enter(tokens=30_000)
    assert endpoint().tokens.available < -20_000
    assert ask(tokens=1).reason == "rate"
    pass_time(200)
    assert ask(tokens=1).reason == "rate", "the debt is paid off first"
    pass_time(50)
    enter(tokens=1)


def test_retry_after_holds_for_everybody_and_the_longest_counts(database, ask, enter, pass_time):
    settle(database, enter(), tokens=1, rates=None)
    first, second = enter(), enter()
    assert release(database, first, retry_after_seconds=300) == 0
    assert release(database, second, retry_after_seconds=5) == 0
    verdict = ask()
    assert (verdict.reason, verdict.outage_seconds) == ("rate", 0)
    assert 200 < verdict.seconds <= 300
    assert isinstance(ask(endpoint="another"), Admitted)
    pass_time(300)
    enter()


def test_a_refusal_for_rate_that_does_not_say_what_is_left_empties_the_bucket(database, ask, enter, pass_time):
    settle(database, enter(), tokens=1, rates=headers((6, 6)))
    release(database, enter(), retry_after_seconds=1)
    pass_time(1)
    assert ask().reason == "rate"
    pass_time(10)
    enter()


def test_a_server_that_fails_and_says_when_to_come_back_leaves_the_bucket_alone(database, ask, enter, pass_time):
    settle(database, enter(), tokens=1, rates=headers((6, 6)))
    release(database, enter(), retry_after_seconds=1, outage=True)
    assert ask().reason == "rate"
    pass_time(1)
    enter()


def test_a_limit_that_is_configured_later_takes_effect(database, ask, enter, pass_time):
    settle(database, enter(), tokens=1, rates=None)
    enter()
    assert ask(RateLimits(None, 6000), tokens=1000).reason == "rate", "there are five seconds' worth of 500"
    pass_time(5.5)
    enter(RateLimits(None, 6000), tokens=1000)
    assert ask(RateLimits(None, 6000), tokens=1000).reason == "rate"
    enter(tokens=10**6)
