import pytest

from embedding_assets.pipeline.pace import Pace


@pytest.fixture
def clock(monkeypatch):
    """The time, to be set."""
    times = [0.0]
    monkeypatch.setattr("embedding_assets.pipeline.pace.time.monotonic", lambda: times[-1])
    return times


def test_a_line_now_and_then_and_one_at_the_end(clock):
    lines: list[str] = []
    pace = Pace(100, lines.append)

    for now in (5.0, 6.0, 11.0, 12.0, 22.0, 25.0, 26.0, 27.0, 28.0, 29.0):
        clock.append(now)
        pace(10)
    pace(0)

    assert lines == [
        "30 of 100 chunks, 3.3 chunks/s, 21 s left",
        "50 of 100 chunks, 2.4 chunks/s, 21 s left",
        "100 of 100 chunks, 3.8 chunks/s, 0 s left",
    ]


def test_more_than_was_due_is_not_more_than_all(clock):
    lines: list[str] = []
    pace = Pace(10, lines.append)
    pace(4)
    clock.append(12.0)
    pace(8)
    assert lines == ["12 of 12 chunks, 0.7 chunks/s, 0 s left"]


@pytest.mark.parametrize(("total", "left"), [(110, "99 s"), (111, "1.7 min"), (6010, "100 min"), (6011, "1.7 h")])
def test_what_is_left_is_reported_in_fitting_units(clock, total, left):
    lines: list[str] = []
    pace = Pace(total, lines.append)
    pace(1)
    clock.append(10.0)
    pace(10)
    assert lines == [f"11 of {total:,} chunks, 1.0 chunks/s, {left} left"]
