"""Chunks with nearly one vector are found through the index, and what was not looked at is said."""

import dataclasses

import numpy as np
import pytest

from embedding_assets.config import IndexConfig
from embedding_assets.postgres import catalog
from embedding_assets.postgres.duplicates import near
from embedding_assets.postgres.duplicates.near import NearDuplicates, find_near_duplicates, prepare
from embedding_assets.postgres.index.build import build_vector_index
from embedding_assets.postgres.spaces import register_space
from embedding_assets_tests.support.shop import SHOPS, adopt_shop, embed, fill, opened
from embedding_assets_tests.support.tables import SMALL_SPACE, insert_vectors, unit_vectors


def find(database, *, at_least=0.97, most=1000, limit=10, on_progress=lambda _: None):
    search = prepare(database, at_least=at_least, most=most, ef_search=40)
    assert not isinstance(search, NearDuplicates), search.reason
    return find_near_duplicates(database, search, limit, on_progress)


def vectors_with_groups():
    """Sixty vectors: 0 to 2 are within 0.995 of the next, 10 and 11 within 0.999, the others far from all."""
    vectors = np.array([one for one in unit_vectors(4000) if abs(one[0]) < 0.5 and abs(one[1]) < 0.5])
    chosen = [vectors[0]]
    for one in vectors:
        if len(chosen) < 60 and np.max(np.array(chosen) @ one) < 0.9:
            chosen.append(one)
    vectors = np.array(chosen)
    for target, origin, share in ((1, 0, 0.1), (2, 1, 0.1), (11, 10, 0.04)):
        other = np.eye(8, dtype=np.float32)[0]
        moved = vectors[origin] + share * other
        vectors[target] = moved / np.linalg.norm(moved)
    return vectors


@pytest.fixture
def filled(database, column):
    vectors = vectors_with_groups()
    hashes = insert_vectors(database, column, vectors)
    return vectors, hashes


@pytest.mark.parametrize("index_type", [None, "vector", "halfvec", "bit"])
def test_groups_are_those_of_all_pairs(database, column, filled, index_type, monkeypatch):
    vectors, hashes = filled
    monkeypatch.setattr(catalog, "EXACT_SEARCH_ROWS", 0)  # else signs are not read in so small a table
    if index_type is not None:
        build_vector_index(database, column, IndexConfig(type=index_type))
    progress = []
    found = find(database, on_progress=progress.append)
    cosines = vectors @ vectors.T
    pairs = {
        frozenset((hashes[one], hashes[other])): cosines[one, other]
        for one in range(len(vectors))
        for other in range(one)
        if cosines[one, other] >= 0.97
    }
    assert len(pairs) >= 3
    assert {frozenset((pair.one, pair.other)) for group in found.groups for pair in group.pairs} == pairs.keys()
    for pair in (pair for group in found.groups for pair in group.pairs):
        assert pair.similarity == pytest.approx(pairs[frozenset((pair.one, pair.other))], abs=1e-3)
    assert [group.chunks for group in found.groups] == [3, 2]
    assert {place.chunk_hash for place in found.groups[0].places} == set(hashes[:3])
    assert found.by_index is (index_type is not None)
    assert (found.vectors, found.looked_at, found.left_out) == (len(vectors), len(vectors), 0)
    assert sum(progress) == len(vectors)
    assert find(database) == found
    assert "text of" not in repr(found)


@pytest.mark.usefixtures("filled")
def test_limits_are_said(database):
    found = find(database, limit=1)
    assert (found.groups_in_all, len(found.groups)) == (2, 1)
    found = find(database, most=7)
    assert (found.looked_at, found.left_out) == (7, found.vectors - 7)
    assert find(database, at_least=1.0).groups == ()


@pytest.mark.usefixtures("filled")
def test_equal_texts_are_no_near_duplicates(database, execute):
    execute("UPDATE knowledge_base SET chunk_text = 'the same', embedding = embedding")
    execute("UPDATE knowledge_base SET embedding = '[1,0,0,0,0,0,0,0]'")
    found = find(database)
    assert (found.groups, found.crowded) == ((), found.looked_at)


def test_a_zero_vector_is_near_nothing(database, column):
    vectors = unit_vectors(4)
    vectors[:2] = 0
    insert_vectors(database, column, vectors)
    found = find(database, at_least=0.99)
    assert (found.groups, found.looked_at, found.left_out) == ((), 2, 2)


@pytest.mark.usefixtures("filled")
def test_an_index_is_read_where_there_is_one(database, column):
    build_vector_index(database, column, IndexConfig())
    search = prepare(database, at_least=0.97, most=5, ef_search=40)

    def work(connection):
        near._compare(connection, database.table, search, search.keys)
        return connection.execute("SELECT pg_stat_get_xact_numscans(%s::regclass)", [column.index]).fetchone()

    assert database.run(work) == (5,)


@pytest.mark.usefixtures("filled")
def test_without_an_index_few_are_compared_and_never_all_of_many(database, column, monkeypatch):
    monkeypatch.setattr(near, "MOST_WITHOUT_INDEX", 7)
    assert find(database).looked_at == 7
    monkeypatch.setattr(near, "EXACT_SEARCH_ROWS", 10)
    refused = prepare(database, at_least=0.97, most=1000, ef_search=40)
    assert isinstance(refused, NearDuplicates)
    assert "`embedding-assets health` builds the index" in refused.reason
    build_vector_index(database, column, IndexConfig())
    assert find(database).groups_in_all == 2


@pytest.mark.parametrize(
    ("similarity", "normalized", "reason"),
    [
        ("euclidean", True, "by euclidean and not by a cosine"),
        ("manhattan", True, "by manhattan"),
        ("dot", False, "by dot"),
        ("dot", True, ""),
    ],
)
def test_only_a_cosine_says_that_two_are_nearly_the_same(database, similarity, normalized, reason):
    column = register_space(database, dataclasses.replace(SMALL_SPACE, normalized=normalized), similarity=similarity)
    insert_vectors(database, column, vectors_with_groups())
    search = prepare(database, at_least=0.97, most=1000, ef_search=40)
    if reason:
        assert isinstance(search, NearDuplicates)
        assert reason in search.reason
    else:
        assert [group.chunks for group in find(database).groups] == [3, 2]


def test_before_anything_is_embedded(database):
    refused = prepare(database, at_least=0.97, most=10, ef_search=40)
    assert isinstance(refused, NearDuplicates)
    assert "run `embedding-assets embed` first" in refused.reason


@pytest.mark.parametrize("name", SHOPS)
def test_a_table_of_the_users(settings, beside, name):
    shop = SHOPS[name]
    fill(beside, shop, 30)
    adopted = adopt_shop(settings, shop)
    with opened(adopted) as database:
        embed(adopted, database)
        beside.execute(
            f"UPDATE {shop.relation} SET embedding = CASE WHEN ctid IN (SELECT ctid FROM {shop.relation} LIMIT 1) "
            "THEN '[1,0,0,0,0,0,0,0]'::vector ELSE '[1,0.1,0,0,0,0,0,0]' END"
        )
        found = find(database)
        assert found.groups_in_all == 1
        assert (found.groups[0].chunks, found.looked_at) == (30, 30)
        assert all(place.key.keys() == shop.first_key.keys() for place in found.groups[0].places)
