"""The identity of a vector space, and which vectors it refuses."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from embedding_assets.spaces import INT8, UNIT_LENGTH_TOLERANCE, SpaceColumn, VectorSpace

SPACE = VectorSpace("local", "org/some-Model_v2", "abc", 4, True, "", 384)
OTHERS = {
    "provider": "openai",
    "model": "org/other",
    "revision": "abd",
    "dimensions": 8,
    "normalized": False,
    "prompt": "query: ",
    "max_tokens": 512,
}


def test_every_attribute_is_part_of_the_identity():
    assert set(OTHERS) == {field.name for field in fields(VectorSpace)}
    for name, value in OTHERS.items():
        other = replace(SPACE, **{name: value})
        assert other.name != SPACE.name
        assert other.slug != SPACE.slug
        assert other.differences(SPACE) == [name]
    assert SPACE.differences(replace(SPACE)) == []


def test_int8_is_part_of_the_identity():
    rounded = replace(SPACE, revision=f"{SPACE.revision}{INT8}")
    assert rounded.name.startswith("local-some-Model_v2-int8-4-")
    assert rounded.slug != SPACE.slug
    assert (rounded.is_int8, rounded.weights) == (True, "abc")
    assert (SPACE.is_int8, SPACE.weights) == (False, "abc")
    api = replace(rounded, provider="openai")
    assert (api.is_int8, api.weights) == (False, "abc+int8")


def test_name_and_slug_never_change():
    # They name columns and indexes of tables that exist.
    assert SPACE.name == "local-some-Model_v2-4-6f1d8ded"
    assert SPACE.slug == "some_model_v2_6f1d8ded"


@given(st.text(max_size=80), st.text(max_size=10))
def test_slug_makes_identifiers_that_postgresql_keeps_whole(model: str, revision: str):
    space = VectorSpace("local", model, revision, 4, True, "", 384)
    assert set(space.slug) <= set("abcdefghijklmnopqrstuvwxyz0123456789_")
    assert len(f"idx_knowledge_embedding_{space.slug}_pending") <= 63


def unit(*values: float) -> NDArray[np.float32]:
    vector = np.array(values, dtype=np.float64)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


@pytest.mark.parametrize(
    ("vector", "code"),
    [
        (unit(1, 2, 3, 4), None),
        ([np.nan, 0, 0, 1], "not_finite"),
        ([np.inf, 0, 0, 0], "not_finite"),
        ([-np.inf, np.inf, 0, 0], "not_finite"),
        ([0, 0, 0, 0], "zero_vector"),
        ([0.0, -0.0, 0, 0], "zero_vector"),
        ([2, 0, 0, 0], "not_unit_length"),
        ([1 + 2 * UNIT_LENGTH_TOLERANCE, 0, 0, 0], "not_unit_length"),
        ([1 + UNIT_LENGTH_TOLERANCE / 2, 0, 0, 0], None),
        ([3e38, 3e38, 0, 0], "not_unit_length"),
        ([1e-45, 0, 0, 0], "not_unit_length"),
    ],
)
def test_find_invalid(vector: list[float], code: str | None):
    vectors = np.stack([unit(1, 0, 0, 0), np.array(vector, dtype=np.float32), unit(0, 1, 1, 0)])
    assert SPACE.find_invalid(vectors) == ({1: code} if code else {})


@pytest.mark.parametrize("shape", [(3, 3), (3, 5), (3,), (3, 4, 1)])
def test_find_invalid_refuses_other_shapes(shape: tuple[int, ...]):
    assert SPACE.find_invalid(np.ones(shape, dtype=np.float32)) == dict.fromkeys(range(3), "wrong_dimensions")


def test_spaces_without_normalization_take_any_length_but_zero():
    space = replace(SPACE, normalized=False)
    vectors = np.array([[3e38, 3e38, 0, 0], [1e-30, 0, 0, 0], [0, 0, 0, 0], [np.nan, 0, 0, 0]], dtype=np.float32)
    assert space.find_invalid(vectors) == {2: "zero_vector", 3: "not_finite"}


def test_vectors_are_judged_as_they_will_be_stored():
    # In float64 all three are finite and none is zero.
    space = replace(SPACE, normalized=False)
    vectors = np.array([[1e300, 0, 0, 0], [1e-300, 0, 0, 0], [1, 0, 0, 0]], dtype=np.float64)
    assert space.find_invalid(vectors) == {0: "not_finite", 1: "zero_vector"}


def test_no_vectors_are_valid():
    assert SPACE.find_invalid(np.empty((0, 4), dtype=np.float32)) == {}


@pytest.mark.parametrize(
    ("similarity", "normalized", "is_one"),
    [("cosine", False, True), ("dot", True, True), ("dot", False, False), ("euclidean", True, False)],
)
def test_whether_a_score_is_a_cosine(similarity: str, normalized: bool, is_one: bool):
    space = replace(SPACE, normalized=normalized)
    assert SpaceColumn(space, "v", "i", serving=True, similarity=similarity).scores_cosines is is_one
