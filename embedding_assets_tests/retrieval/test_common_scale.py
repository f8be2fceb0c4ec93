"""Chunks of two searches in one order."""

from collections.abc import Sequence

import numpy as np
import pytest
from pgvector import Vector
from psycopg import sql

from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.index_form import DISTANCE_OPERATORS
from embedding_assets.postgres.search import FoundChunk
from embedding_assets.retrieval.common_scale import distance, with_others
from embedding_assets.spaces import Similarity
from embedding_assets_tests.support.searching import found_chunk

FOUND = [found_chunk(name, distance=0.1 * rank, vector_rank=rank) for rank, name in enumerate("abcd", start=1)]


def order(found: Sequence[FoundChunk], others: Sequence[FoundChunk], *, is_complete: bool = False) -> list[tuple]:
    merged = with_others(found, others, is_complete=is_complete)
    return [(chunk.chunk_hash, chunk.vector_rank) for chunk in merged]


def other(name: str, at: float) -> FoundChunk:
    return found_chunk(name, distance=at)


def test_each_enters_where_its_distance_puts_it():
    assert order(FOUND, [other("x", 0.15), other("y", 0.35)]) == [
        ("a", 1), ("x", 2), ("b", 3), ("c", 4), ("y", 5), ("d", 6),
    ]  # fmt: skip
    assert order(FOUND, [other("x", 0.05)])[0] == ("x", 1)


def test_what_is_farther_than_all_stays_out_unless_these_are_all():
    far = [other("x", 0.9), other("y", 0.8)]
    assert order(FOUND, far) == [("a", 1), ("b", 2), ("c", 3), ("d", 4)]
    assert order(FOUND, far, is_complete=True)[4:] == [("y", 5), ("x", 6)]
    assert order([], far) == [("y", 1), ("x", 2)]
    assert order(FOUND, []) == [("a", 1), ("b", 2), ("c", 3), ("d", 4)]


def test_equally_far_ones_are_in_the_order_of_their_hashes():
    assert order([], [other("y", 0.2), other("x", 0.2)]) == [("x", 1), ("y", 2)]


def test_what_was_embedded_in_between_comes_once():
    assert order(FOUND, [other("b", 0.25)]) == [("a", 1), ("b", 2), ("c", 3), ("d", 4)]


def test_words_count_beside_the_distance():
    # By words alone so far, in the second place of the fused order.
    named = found_chunk("x", text_rank=1)
    found = [FOUND[0], named, *FOUND[1:]]
    merged = with_others(found, [other("x", 0.15)], is_complete=False)
    assert [chunk.chunk_hash for chunk in merged] == ["x", "a", "b", "c", "d"]
    assert (merged[0].vector_rank, merged[0].text_rank, merged[0].distance) == (2, 1, 0.15)
    # Too far for a rank, but its score is known.
    merged = with_others(found, [other("x", 0.9)], is_complete=False)
    assert [chunk.chunk_hash for chunk in merged] == ["a", "x", "b", "c", "d"]
    assert (merged[1].vector_rank, merged[1].distance) == (None, 0.9)


def test_what_the_question_names_stays_first():
    named = found_chunk("n", text_rank=1, is_named=True)
    assert order([named, *FOUND], [other("x", 0.05)])[:2] == [("n", None), ("x", 1)]
    assert order([*FOUND], [found_chunk("x", distance=0.05, text_rank=1, is_named=True)])[0] == ("x", 1)
    second = found_chunk("m", text_rank=2, is_named=True)
    assert [name for name, _ in order([named, second, *FOUND], [other("m", 0.05)])][:3] == ["n", "m", "a"]


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean", "manhattan"])
def test_distances_are_those_of_the_database(similarity: Similarity, database: Database):
    one, another = (np.random.default_rng(seed).standard_normal(48).astype(np.float32) for seed in (1, 2))
    query = sql.SQL("SELECT %s::vector {} %s::vector").format(DISTANCE_OPERATORS[similarity])
    [expected] = database.run(lambda c: c.execute(query, [Vector(one), Vector(another)]).fetchone())
    assert distance(one, another, similarity) == pytest.approx(expected, rel=1e-5)
