"""Texts on their way to an API."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedding_assets.planning import estimate_api_tokens
from embedding_assets.providers.openai.texts import (
    ApiText,
    cut_text,
    find_cut_length,
    least_tokens,
    next_size,
    prepare_texts,
    share_tokens,
)


def text_of(text: str) -> ApiText:
    return ApiText(text, len(text.encode()), (0,))


def test_texts_are_sent_once_in_order():
    prepared, errors = prepare_texts(["b", "a", "b", "", "c", "a", "\ud800", " "], max_tokens=10)
    assert [(one.text, one.positions) for one in prepared] == [("b", (0, 2)), ("a", (1, 5)), ("c", (4,))]
    assert errors == {3: "blank_text", 6: "invalid_unicode", 7: "blank_text"}


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_likely_tokens_are_those_of_planning(text: str):
    assert text_of(text).likely_tokens == estimate_api_tokens(text)


def test_a_text_above_a_request_is_cut_or_an_error():
    texts = ["x" * 40, "é" * 21, "short"]
    prepared, errors = prepare_texts(texts, max_tokens=10)
    assert [(one.text, one.size, one.truncated) for one in prepared] == [
        ("x" * 40, 40, False),
        ("é" * 20, 40, True),
        ("short", 5, False),
    ]
    assert errors == {}
    prepared, errors = prepare_texts(texts, max_tokens=10, too_long="quarantine")
    assert [one.text for one in prepared] == ["x" * 40, "short"]
    assert errors == {1: "too_long"}
    assert prepare_texts([" " * 50 + "x"], max_tokens=10) == ([], {0: "too_long"})


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.integers(0, 100))
def test_a_cut_keeps_whole_characters(text: str, size: int):
    cut = cut_text(text_of(text), size)
    if cut is None:
        assert not text.encode()[:size].decode(errors="ignore").strip()
        return
    assert text.startswith(cut.text)
    assert cut.size == len(cut.text.encode()) <= size
    assert size - cut.size < 4 or cut.text == text
    assert cut.truncated
    assert cut.positions == (0,)


@pytest.mark.parametrize(
    ("size", "requested", "allowed", "expected"),
    [
        (20_000, 10_000, 8_000, 15_680),  # as many bytes a token as before, and 2 % less
        (20_000, None, 8_000, 15_000),
        (1_000_000, None, 8_000, 32_000),
        (20_000, 7_000, 8_000, 15_000),  # the refusal contradicts itself
        (3, 9, 8, 2),
        (1, None, 8, 0),
    ],
)
def test_next_size(size: int, requested: int | None, allowed: int, expected: int):
    assert next_size(size, requested_tokens=requested, allowed_tokens=allowed) == expected


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(1, 10**5))
def test_a_text_only_becomes_shorter(size: int, requested: int, allowed: int):
    assert 0 <= next_size(size, requested_tokens=requested, allowed_tokens=allowed) < size


@given(st.integers(0, 10**6), st.lists(st.integers(1, 10**5), min_size=1))
def test_shares_sum_up_to_the_whole_and_follow_the_sizes(total: int, sizes: list[int]):
    shares = share_tokens(total, sizes)
    assert sum(shares) == total
    for share, size in zip(shares, sizes, strict=True):
        assert abs(share - total * size / sum(sizes)) <= 1


WORDS = "every word here has three letters "


@pytest.mark.parametrize(
    ("text", "tokens"),
    [(WORDS * 10, 60), ("1 2 3 4 5", 0), ("ab abc", 1), ("", 0), ("一二三四五六", 1), ("\n\n abc\t", 1)],
)
def test_least_tokens(text: str, tokens: int):
    assert least_tokens(text) == tokens
    assert tokens <= ApiText(text, len(text.encode()), (0,)).likely_tokens


@pytest.mark.parametrize(
    ("least", "reported", "length"),
    [
        ([1000], 512, 512),
        ([1000], 1000, None),
        ([100, 100, 1000], 712, 512),
        ([1000, 1000, 10], 1034, 512),
        ([500, 600, 700, 800], 4 * 512, 516),  # the first is not known to be cut
        ([1000, 1000], 2, None),  # counts texts
        ([1000] * 10, 600, None),  # counts something else
        ([], 5, None),
    ],
)
def test_the_length_beyond_which_texts_were_cut(least: list[int], reported: int, length: int | None):
    assert find_cut_length(least, reported) == length


@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 500)), min_size=1), st.integers(64, 2000))
def test_no_text_that_was_read_whole_counts_as_cut(texts: list[tuple[int, int]], limit: int):
    """Tokens of a text are those it has at least, and more."""
    reported = sum(min(least + more, limit) for least, more in texts)
    length = find_cut_length([least for least, _ in texts], reported)
    assert all(least + more > limit for least, more in texts if length is not None and least > length)


@given(st.lists(st.integers(0, 2000), min_size=1))
def test_an_uncut_request_shows_no_length(least: list[int]):
    assert find_cut_length(least, sum(least)) is None
