"""Bodies of answers, good and bad."""

import base64
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from embedding_assets.providers.openai.answers import MalformedAnswerError, parse_answer

VECTORS = np.array([[3, 4, 0], [0, 0, 2]], dtype=np.float32)


def encoded(vector: NDArray[np.float32]) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def body(*embeddings: Any, usage: Any = None, indexes: list[Any] | None = None) -> bytes:
    numbers = range(len(embeddings)) if indexes is None else indexes
    data = [{"index": index, "embedding": one} for index, one in zip(numbers, embeddings, strict=True)]
    return json.dumps({"data": data} | ({} if usage is None else {"usage": usage})).encode()


def test_vectors_become_unit_vectors():
    for form in (encoded, lambda vector: vector.tolist()):
        answer = parse_answer(body(*map(form, VECTORS)), count=2, dimensions=3)
        np.testing.assert_allclose(answer.vectors, [[0.6, 0.8, 0], [0, 0, 1]], atol=1e-7)
        assert answer.vectors.dtype == np.float32
        assert answer.tokens is None
        assert not answer.unit
        assert parse_answer(body(*map(form, VECTORS / [[5], [2]])), count=2, dimensions=3).unit


def test_the_index_decides_and_not_the_order():
    answer = parse_answer(body(*map(encoded, VECTORS), indexes=[1, 0]), count=2, dimensions=3)
    np.testing.assert_allclose(answer.vectors, [[0, 0, 1], [0.6, 0.8, 0]], atol=1e-7)


@pytest.mark.parametrize(
    ("odd", "code"),
    [
        ([1.0, float("nan")], "not_finite"),
        ([float("inf"), 0.0], "not_finite"),
        ([0.0, -0.0], "zero_vector"),
    ],
)
def test_vectors_beside_odd_ones_are_kept(odd: list[float], code: str):
    answer = parse_answer(body([3.0, 4.0], odd, [0.0, 1.0]), count=3, dimensions=2)
    assert answer.odd == {1: code}
    np.testing.assert_allclose(answer.vectors[[0, 2]], [[0.6, 0.8], [0, 1]], atol=1e-7)
    assert not answer.vectors[1].any()
    assert not answer.unit


@pytest.mark.parametrize("vector", [[1e300, 1e300], [1e-300, 1e-300], [3e38, 3e38], [1, 1]])
def test_length_does_not_matter(vector: list[float]):
    if vector[0] in (1e300, 1e-300):
        with pytest.raises(MalformedAnswerError, match=r"not_finite|zero_vector"):
            parse_answer(body(vector), count=1, dimensions=2)
    else:
        answer = parse_answer(body(vector), count=1, dimensions=2)
        np.testing.assert_allclose(answer.vectors, [[0.5**0.5] * 2], atol=1e-6)


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 7, "total_tokens": 9}, 7),
        ({"total_tokens": 9}, 9),
        ({"prompt_tokens": 0, "total_tokens": 0}, None),
        ({"prompt_tokens": "7"}, None),
        ({"prompt_tokens": True}, None),
        ({"prompt_tokens": -1}, None),
        ([], None),
        (None, None),
    ],
)
def test_tokens(usage: Any, tokens: int | None):
    assert parse_answer(body([1.0], usage=usage), count=1, dimensions=1).tokens == tokens


GOOD = [1.0, 0.0]


@pytest.mark.parametrize(
    ("indexes", "order"),
    [([None, 1, 2], [0, 1, 2]), ([2, None, 1], [1, 2, 0]), ([None, None, None], [0, 1, 2]), ([2, 1, 0], [2, 1, 0])],
)
def test_an_index_that_is_left_out_is_the_one_that_no_other_has(indexes: list[int | None], order: list[int]):
    vectors = [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]
    answer = parse_answer(body(*vectors, indexes=indexes), count=3, dimensions=2)
    np.testing.assert_array_equal(answer.vectors, np.array(vectors)[order])


@pytest.mark.parametrize("indexes", [[None, None, 2], [None, 1, 1], [None, 1, 3]])
def test_more_is_not_guessed(indexes: list[int | None]):
    with pytest.raises(MalformedAnswerError, match="wrong_indexes"):
        parse_answer(body(*[[1.0, 0.0]] * 3, indexes=indexes), count=3, dimensions=2)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"", "not_json"),
        (b"<html></html>", "not_json"),
        (b"[" * 100_000, "not_json"),
        (b"\xff", "not_json"),
        (b"[]", "malformed_answer"),
        (b"null", "malformed_answer"),
        (b'{"data": null}', "malformed_answer"),
        (b'{"data": [1, 2]}', "malformed_answer"),
        (b'{"error": {"message": "canary"}}', "malformed_answer"),
        (body(GOOD), "wrong_vector_count"),
        (body(GOOD, GOOD, GOOD), "wrong_vector_count"),
        (body(GOOD, GOOD, indexes=[0, 0]), "wrong_indexes"),
        (body(GOOD, GOOD, indexes=[0, 2]), "wrong_indexes"),
        (body(GOOD, GOOD, indexes=[2, None]), "wrong_indexes"),
        (body(GOOD, GOOD, indexes=["0", None]), "wrong_indexes"),
        (body(GOOD, GOOD, indexes=[False, True]), "wrong_indexes"),
        (body(GOOD, [1.0]), "wrong_dimensions"),
        (body(GOOD, []), "wrong_dimensions"),
        (body([1.0, float("nan")], [1.0, float("nan")]), "not_finite"),
        (body([1.0, float("inf")], [1.0, float("inf")]), "not_finite"),
        (body([1.0, None], [1.0, None]), "not_finite"),
        (
            body(encoded(np.array([np.nan, 1], dtype=np.float32)), encoded(np.array([np.nan, 1], dtype=np.float32))),
            "not_finite",
        ),
        (body([0.0, -0.0], [0.0, -0.0]), "zero_vector"),
        (body(GOOD, [[1.0, 0.0]]), "malformed_answer"),
        (body(GOOD, ["1", "2"]), "malformed_answer"),
        (body(GOOD, [{}, {}]), "malformed_answer"),
        (body(GOOD, [1.0, [1.0]]), "malformed_answer"),
        (body(GOOD, [10**400, 1]), "malformed_answer"),
        (body(GOOD, None), "malformed_answer"),
        (body(GOOD, "not base64!"), "malformed_answer"),
        (body(GOOD, "AAAA"), "malformed_answer"),  # three bytes
        (body(GOOD, "é"), "malformed_answer"),
    ],
)
def test_malformed_answers(answer: bytes, code: str):
    with pytest.raises(MalformedAnswerError) as caught:
        parse_answer(answer, count=2, dimensions=2)
    assert (caught.value.code, str(caught.value)) == (code, code)


def test_what_a_malformed_answer_still_says():
    with pytest.raises(MalformedAnswerError) as caught:
        parse_answer(body([1.0], [1.0], usage={"prompt_tokens": 5}), count=2, dimensions=2)
    assert (caught.value.code, caught.value.tokens, caught.value.dimensions) == ("wrong_dimensions", 5, 1)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: (
    st.lists(inner) | st.dictionaries(st.sampled_from(["data", "index", "embedding", "usage", "prompt_tokens"]), inner)
)))  # fmt: skip
def test_nothing_else_is_ever_raised(content: object):
    try:
        answer = parse_answer(json.dumps(content).encode(), count=1, dimensions=1)
    except MalformedAnswerError:
        return
    assert answer.vectors.shape == (1, 1)
    assert abs(answer.vectors[0, 0]) == 1
