"""Ranges of buckets to hand out."""

from hypothesis import given
from hypothesis import strategies as st

from embedding_assets.distribution.ranges import FEWEST_CHUNKS, RANGES_PER_WORKER, plan_ranges


def test_ranges_are_of_about_the_same_size_largest_first():
    due = dict.fromkeys(range(256), 12)
    ranges = plan_ranges(due, 2, most_chunks=2048)
    sizes = [len(part) * 12 for part in ranges]
    assert sizes == sorted(sizes, reverse=True)
    assert 2 * RANGES_PER_WORKER <= len(ranges) <= 2 * RANGES_PER_WORKER + 1
    assert max(sizes) <= 256 * 12 / 8


def test_a_large_backlog_goes_out_bucket_by_bucket():
    assert len(plan_ranges(dict.fromkeys(range(256), 4000), 4, most_chunks=2048)) == 256


def test_a_few_chunks_are_not_spread_thin():
    assert plan_ranges({3: 5, 200: 7}, 8, most_chunks=2048) == [range(3, 201)]
    assert plan_ranges({}, 8, most_chunks=2048) == []


@given(st.dictionaries(st.integers(0, 255), st.integers(1, 5000)), st.integers(1, 50), st.integers(1, 10_000))
def test_each_due_bucket_is_in_one_range(due, workers, most):
    ranges = plan_ranges(due, workers, most_chunks=most)
    assert all(sum(bucket in part for part in ranges) == 1 for bucket in due)
    for part in ranges:
        chunks = sum(due.get(bucket, 0) for bucket in part)
        inside = [bucket for bucket in part if bucket in due]
        assert len(inside) == 1 or chunks <= max(FEWEST_CHUNKS, most)
        assert (part.start, part.stop - 1) == (inside[0], inside[-1])
