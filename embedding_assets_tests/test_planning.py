"""Plans: tables of cases, and what must hold for any input."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedding_assets.planning import (
    BUCKETS,
    EXACT_SEARCH_ROWS,
    PrefixRange,
    all_prefixes,
    bucket_bounds,
    contiguous,
    estimate_api_tokens,
    even_share,
    group_prefixes,
    halve,
    plan_batches,
    plan_index,
    plan_requests,
    shows_change,
    split_ranges,
)
from embedding_assets_tests.support.fakes import bucket_of


@pytest.mark.parametrize(
    ("text", "first", "last", "buckets"),
    [
        ("0-f", "0", "f", range(256)),
        ("0...f", "0", "f", range(256)),
        (" A ", "a", "a", range(0xA0, 0xB0)),
        ("3c", "3c", "3c", range(0x3C, 0x3D)),
        ("0-7f", "0", "7f", range(0x80)),
        ("3c-F", "3c", "f", range(0x3C, 256)),
        ("ff", "ff", "ff", range(255, 256)),
    ],
)
def test_parse_prefix_range(text: str, first: str, last: str, buckets: range):
    parsed = PrefixRange.parse(text)
    assert parsed == PrefixRange(first, last)
    assert parsed.buckets == buckets
    assert PrefixRange.parse(str(parsed)) == parsed


@pytest.mark.parametrize("text", ["", "-", "g", "abc", "0-g", "f-0", "3c-3b", "-f", "0-1-2", "0..f", "é", "1 2"])
def test_refused_prefix_ranges(text: str):
    with pytest.raises(ValueError, match="prefix"):
        PrefixRange.parse(text)


@pytest.mark.parametrize(
    ("start", "stop", "bounds"),
    [
        (0, 256, ("0", "g")),
        (0, 16, ("0", "1")),
        (0x10, 0x20, ("1", "2")),
        (0x3C, 0x3D, ("3c", "3d")),
        (255, 256, ("ff", "g")),
    ],
)
def test_bucket_bounds(start: int, stop: int, bounds: tuple[str, str]):
    assert bucket_bounds(start, stop) == bounds


@given(st.text("0123456789abcdef", min_size=2, max_size=6), st.integers(0, 255), st.integers(1, 256))
def test_bounds_hold_exactly_the_hashes_of_their_buckets(chunk_hash: str, start: int, size: int):
    stop = min(BUCKETS, start + size)
    lower, upper = bucket_bounds(start, stop)
    assert (lower <= chunk_hash < upper) == (bucket_of(chunk_hash) in range(start, stop))


@pytest.mark.parametrize("length", [1, 2])
def test_all_prefixes_cover_every_bucket_once(length: int):
    prefixes = all_prefixes(length)
    assert prefixes == sorted(prefixes)
    assert len(prefixes) == 16**length
    assert [bucket for prefix in prefixes for bucket in PrefixRange(prefix, prefix).buckets] == list(range(BUCKETS))


@given(st.sets(st.integers(0, 300)).map(sorted))
def test_contiguous_keeps_all_in_the_fewest_ranges(values: list[int]):
    ranges = contiguous(values)
    assert [value for one in ranges for value in one] == values
    assert all(left.stop < right.start for left, right in pairwise(ranges))


@pytest.mark.parametrize(
    ("prefixes", "most", "blocked", "expected"),
    [
        ("", 4, "", []),
        ("0", 4, "", ["0"]),
        ("0123", 1, "", ["0-3"]),
        ("013", 2, "", ["0-1", "3"]),
        ("013f", 2, "", ["0-3", "f"]),
        ("0f", 1, "", ["0-f"]),
        ("0f", 1, "8", ["0", "f"]),
        ("08f", 1, "8", ["0", "f"]),
        ("048c", 2, "6", ["0-4", "8-c"]),
        ("8", 1, "8", []),
    ],
)
def test_group_prefixes(prefixes: str, most: int, blocked: str, expected: list[str]):
    grouped = group_prefixes(list(prefixes), most, blocked=frozenset(blocked))
    assert [str(one) for one in grouped] == expected


@given(st.data(), st.integers(1, 2), st.integers(1, 5))
def test_groups_cover_what_they_must_and_never_what_is_blocked(data: st.DataObject, length: int, most: int):
    every = all_prefixes(length)
    prefixes = sorted(data.draw(st.sets(st.sampled_from(every), max_size=40)))
    blocked = data.draw(st.frozensets(st.sampled_from(every), max_size=5))
    ranges = group_prefixes(prefixes, most, blocked=blocked)
    covered = [prefix for prefix in every for one in ranges if one.first <= prefix <= one.last]
    assert len(covered) == len(set(covered))
    assert set(prefixes) - blocked <= set(covered)
    assert not blocked & set(covered)
    assert ranges == sorted(ranges, key=lambda one: one.first)
    if not blocked:
        assert len(ranges) <= most


@pytest.mark.parametrize(
    ("ranges", "count", "expected"),
    [
        ("", 4, []),
        ("0-f", 1, ["0-f"]),
        ("0-f", 2, ["0-7", "8-f"]),
        ("0-f", 3, ["0-3", "4-7", "8-f"]),
        ("0-1 8-f", 3, ["0-1", "8-b", "c-f"]),
        ("0-1 8-9", 9, ["0", "1", "8", "9"]),
        ("0-2", 2, ["0", "1-2"]),
        ("0-1 8-f", 1, ["0-1", "8-f"]),
        ("00-ff", 2, ["00-7f", "80-ff"]),
        ("0-f", 0, ["0-f"]),
    ],
)
def test_ranges_are_split(ranges: str, count: int, expected: list[str]):
    split = split_ranges([PrefixRange.parse(one) for one in ranges.split()], count)
    assert [str(one) for one in split] == expected


@pytest.mark.parametrize(
    ("counts", "max_tokens", "max_texts", "expected"),
    [
        ([], 10, 4, []),
        ([5], 10, 4, [[0]]),
        ([99], 10, 4, [[0]]),
        ([1, 2, 3], 10, 4, [[2, 1, 0]]),
        ([3, 3, 3, 3], 6, 4, [[0, 1], [2, 3]]),
        ([3, 3, 3, 3], 100, 3, [[0, 1, 2], [3]]),
        ([1, 99, 1], 10, 4, [[1], [0, 2]]),
        ([0, 0], 1, 1, [[0], [1]]),
    ],
)
def test_plan_batches(counts: list[int], max_tokens: int, max_texts: int, expected: list[list[int]]):
    assert plan_batches(counts, max_tokens=max_tokens, max_texts=max_texts) == expected


@given(st.lists(st.integers(0, 600), max_size=200), st.integers(1, 2000), st.integers(1, 64))
def test_batches_hold_every_text_once_within_both_bounds(counts: list[int], max_tokens: int, max_texts: int):
    batches = plan_batches(counts, max_tokens=max_tokens, max_texts=max_texts)
    assert sorted(index for batch in batches for index in batch) == list(range(len(counts)))
    for batch in batches:
        assert 1 <= len(batch) <= max_texts
        assert len(batch) == 1 or len(batch) * max(counts[index] for index in batch) <= max_tokens
    longest = [max(counts[index] for index in batch) for batch in batches]
    assert longest == sorted(longest, reverse=True)


@given(st.lists(st.integers(), min_size=2))
def test_halves(batch: list[int]):
    left, right = halve(batch)
    assert left + right == batch
    assert left
    assert right
    assert abs(len(left) - len(right)) <= 1


@pytest.mark.parametrize(
    ("embedded", "pending", "decision"),
    [
        (0, 0, "keep"),
        (0, 1, "defer"),
        (100, 100, "keep"),
        (100, 101, "defer"),
        (EXACT_SEARCH_ROWS - 1, EXACT_SEARCH_ROWS, "defer"),
        (EXACT_SEARCH_ROWS, 10 * EXACT_SEARCH_ROWS, "keep"),
    ],
)
def test_plan_index(embedded: int, pending: int, decision: str):
    assert plan_index(embedded=embedded, pending=pending) == decision


@pytest.mark.parametrize(
    ("counts", "width_multiple", "expected"),
    [
        ([17, 17, 17], 1, [[0, 1, 2]]),
        ([17, 17, 17], 16, [[0], [1], [2]]),
        ([16, 16, 16, 16], 16, [[0, 1, 2], [3]]),
        ([60], 16, [[0]]),
        ([0, 0], 16, [[0, 1]]),
    ],
)
def test_the_width_of_a_batch_is_rounded_up(counts: list[int], width_multiple: int, expected: list[list[int]]):
    assert plan_batches(counts, max_tokens=51, max_texts=9, width_multiple=width_multiple) == expected


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("é", 1), ("ééé", 2), ("日本語", 3), ("\ud800", 1)],
)
def test_tokens_of_an_api_are_a_quarter_a_byte(text: str, tokens: int):
    assert estimate_api_tokens(text) == tokens


@pytest.mark.parametrize(
    ("counts", "max_tokens", "max_inputs", "expected"),
    [
        ([], 10, 4, []),
        ([5], 10, 4, [range(1)]),
        ([99], 10, 4, [range(1)]),
        ([5, 5, 1], 10, 4, [range(2), range(2, 3)]),
        ([1, 1, 1, 1, 1], 10, 2, [range(2), range(2, 4), range(4, 5)]),
        ([1, 99, 1], 10, 4, [range(1), range(1, 2), range(2, 3)]),
        ([0, 0], 1, 9, [range(2)]),
    ],
)
def test_plan_requests(counts: list[int], max_tokens: int, max_inputs: int, expected: list[range]):
    assert plan_requests(counts, max_tokens=max_tokens, max_inputs=max_inputs) == expected


@given(st.lists(st.integers(0, 600), max_size=200), st.integers(1, 2000), st.integers(1, 64))
def test_requests_hold_every_text_once_in_order_and_are_filled(counts: list[int], max_tokens: int, max_inputs: int):
    requests = plan_requests(counts, max_tokens=max_tokens, max_inputs=max_inputs)
    assert [index for request in requests for index in request] == list(range(len(counts)))
    for request in requests:
        assert 1 <= len(request) <= max_inputs
        assert len(request) == 1 or sum(counts[index] for index in request) <= max_tokens
    for left, right in pairwise(requests):
        together = sum(counts[index] for index in left) + counts[right.start]
        assert len(left) == max_inputs or together > max_tokens


@pytest.mark.parametrize(
    ("tokens", "workers", "share"),
    [
        (0, 2, 64),
        (10, 2, 64),
        (320, 2, 160),
        (1536, 2, 768),
        (1537, 2, 385),
        (2000, 2, 500),
        (2000, 1, 667),
        (1_000_000, 8, 767),
    ],
)
def test_batches_that_streams_finish_together(tokens: int, workers: int, share: int):
    assert even_share(tokens, at_least=64, at_most=768, workers=workers) == share


@pytest.mark.parametrize(
    ("rows", "changed", "shown"),
    [(1000, 0, False), (1000, 9, False), (1000, 10, True), (0, 0, False), (5, 1, True), (10**9, None, True)],
)
def test_a_picture_changes_with_a_hundredth(rows, changed, shown):
    assert shows_change(rows, changed) is shown
