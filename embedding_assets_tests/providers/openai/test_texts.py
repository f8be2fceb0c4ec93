"""Texts on their way to an API."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedding_assets.planning import estimate_api_tokens
from embedding_assets.providers.openai.texts import ApiText, cut_text, next_size, prepare_texts, share_tokens


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
