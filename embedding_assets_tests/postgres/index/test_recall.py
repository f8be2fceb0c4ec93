"""Recall is what brute force says it is; exact search is exact; its cost is bounded."""

import dataclasses

import numpy as np
import pytest

from embedding_assets.config import IndexConfig
from embedding_assets.postgres.bootstrap import open_database
from embedding_assets.postgres.index import neighbours, recall
from embedding_assets.postgres.index.build import build_vector_index
from embedding_assets.postgres.index.neighbours import NeighbourSearch, sample_queries
from embedding_assets.postgres.index.recall import EF_SEARCH_CURVE, independent_trials, measure_recall, recall_interval
from embedding_assets.postgres.spaces import register_space
from embedding_assets_tests.support.fakes import FAKE_SPACE
from embedding_assets_tests.support.searching import nearest_chunks
from embedding_assets_tests.support.tables import insert_vectors, unit_vectors

CONFIG = IndexConfig()
WEAK = IndexConfig(m=2, ef_construction=4, ef_search=1)


def clustered(count: int, dimensions: int) -> np.ndarray:
    """Unit vectors around a twentieth as many centres: hard to distinguish."""
    vectors = np.repeat(unit_vectors(20, dimensions), count // 20, axis=0)
    vectors = vectors + 0.3 * unit_vectors(count, dimensions, seed=11)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean", "manhattan"])
def test_recall_of_a_good_index_is_one(database, column, similarity):
    column = dataclasses.replace(column, similarity=similarity)
    vectors = unit_vectors(400)
    vectors[200:240] = vectors[0]  # duplicates: any of them is as right as another
    insert_vectors(database, column, vectors)
    config = IndexConfig(ef_search=400)
    build_vector_index(database, column, config)
    sample = measure_recall(database, column, config, queries=400, curve=(10,))
    assert (sample.queries, sample.recall, sample.recall_high) == (400, 1.0, 1.0)
    assert 0.98 < sample.recall_low < 1
    assert sample.duplicates == pytest.approx(41 / 400)
    assert 0 < sample.p50_ms <= sample.p95_ms
    assert 0 < sample.exact_p50_ms <= sample.exact_p95_ms


@pytest.fixture
def by_index(settings, database, execute):
    """The same database, whose planner reads a table only where there is no index, however small the table is."""
    [(name,)] = execute("SELECT current_database()")
    execute(f'ALTER DATABASE "{name}" SET enable_seqscan = off')
    with open_database(settings) as database:
        yield database


def test_recall_is_what_brute_force_says(database, column, by_index):
    vectors = clustered(800, 8)
    hashes = insert_vectors(database, column, vectors)
    build_vector_index(database, column, WEAK)
    sample = measure_recall(database, column, WEAK, queries=50)

    right = 0
    queries = sample_queries(database, column, 50)
    assert len({query.chunk_hash for query in queries}) == 50
    for query in queries:
        own = hashes.index(query.chunk_hash)
        cosines = vectors.astype(np.float64) @ vectors[own].astype(np.float64)
        cosines[own] = -2
        truth = {hashes[place] for place in np.argsort(-cosines)[:10]}

        def search(connection, query=query):
            connection.execute("SET LOCAL hnsw.ef_search = 11")
            connection.execute("SET LOCAL hnsw.iterative_scan = strict_order")
            return connection.execute(
                "SELECT chunk_hash FROM knowledge_base ORDER BY embedding <=> %s LIMIT 11", [query.vector]
            ).fetchall()

        found = [row[0] for row in by_index.run(search) if row[0] != query.chunk_hash][:10]
        right += len(truth & set(found))
        # And what a search of the library finds, which looks at 11 candidates for 11 chunks.
        rows = nearest_chunks(by_index, column, vectors[own], k=11, where=(), index=WEAK)
        assert [row[0] for row in rows if row[0] != query.chunk_hash][:10] == found
    assert sample.queries == 50
    assert sample.recall == pytest.approx(right / 500)
    assert 0.1 < sample.recall < 0.9
    assert sample.recall_low < sample.recall < sample.recall_high


def test_recall_of_a_bad_index_is_measured_as_bad_and_by_ef_search(database, execute):
    column = register_space(database, FAKE_SPACE)
    insert_vectors(database, column, clustered(1200, 768))
    build_vector_index(database, column, WEAK)
    [(name,)] = execute("SELECT current_database()")
    for mode in ("auto", "force_generic_plan"):
        execute(f'ALTER DATABASE "{name}" SET plan_cache_mode = {mode}')
        database.close()
        sample = measure_recall(database, column, WEAK)
        assert sample.queries == 100
        assert 0 < sample.recall < 0.6
    assert [point.ef_search for point in sample.curve] == [1, *EF_SEARCH_CURVE]
    assert sample.curve[0].recall == sample.recall
    recalls = [point.recall for point in sample.curve]
    assert recalls[-1] > recalls[1] + 0.1
    assert all(point.recall_low <= point.recall <= point.recall_high for point in sample.curve)
    assert all(0 < point.p50_ms <= point.p95_ms for point in sample.curve)
    # The same vectors are asked each time, so nothing but the index can make a difference.
    again = measure_recall(database, column, WEAK, curve=())
    assert (again.recall, len(again.curve)) == (sample.recall, 1)
    good = IndexConfig(ef_search=200)
    build_vector_index(database, column, good)
    assert measure_recall(database, column, good).recall > 0.95


def test_the_row_itself_takes_no_place(database, column):
    """With ef_search=10, of which the row itself would be one, all ten others are found all the same."""
    insert_vectors(database, column, unit_vectors(60))
    config = IndexConfig(ef_search=10)
    build_vector_index(database, column, config)
    sample = measure_recall(database, column, config)
    assert (sample.queries, sample.curve[0].ef_search, sample.curve[0].recall) == (60, 10, 1.0)


def test_duplicates_and_near_duplicates_are_shares_of_all(database, column):
    vectors = unit_vectors(100)
    vectors[:20] = vectors[0]
    near = vectors[20] + 0.1 * vectors[21]
    vectors[22] = near / np.linalg.norm(near)
    assert 0.98 < vectors[20] @ vectors[22] < 0.9999
    cosines = vectors @ vectors.T - 2 * np.eye(100)
    expected = float(np.mean(cosines.max(axis=1) >= 0.98))
    assert expected >= 0.22
    insert_vectors(database, column, vectors)
    for similarity in ("cosine", "dot"):
        column = dataclasses.replace(column, similarity=similarity)
        build_vector_index(database, column, CONFIG)
        sample = measure_recall(database, column, CONFIG)
        assert (sample.queries, sample.duplicates) == (100, 0.2)
        assert sample.near_duplicates == pytest.approx(expected)


def test_zero_vectors_are_asked_only_where_they_are_indexed(database, column):
    vectors = unit_vectors(30)
    vectors[:5] = 0
    insert_vectors(database, column, vectors)
    for similarity, queries in (("cosine", 25), ("euclidean", 30)):
        column = dataclasses.replace(column, similarity=similarity)
        build_vector_index(database, column, CONFIG)
        sample = measure_recall(database, column, CONFIG)
        assert (sample.queries, sample.recall) == (queries, 1.0)
        assert sample.duplicates == 0  # a zero vector has no cosine to anything


# What is measured


def test_recall_needs_an_index_and_enough_vectors(database, column):
    sample = measure_recall(database, column, CONFIG)
    assert (sample.recall, sample.reason) == (None, "0 vectors are too few")
    hashes = insert_vectors(database, column, unit_vectors(30))
    sample = measure_recall(database, column, CONFIG)
    assert (sample.queries, sample.recall, sample.planner_uses_index) == (30, None, False)
    assert sample.reason == "there is no index idx_knowledge_embedding that searches can use"
    build_vector_index(database, column, CONFIG)
    sample = measure_recall(database, column, CONFIG)
    assert (sample.recall, sample.reason) == (1.0, "")
    assert measure_recall(database, column, CONFIG, queries=5).queries == 5
    assert measure_recall(database, dataclasses.replace(column, similarity="euclidean"), CONFIG).recall is None
    with database.connect() as connection:
        connection.execute("DELETE FROM knowledge_base WHERE NOT chunk_hash = ANY(%s)", [hashes[:10]])
    assert measure_recall(database, column, CONFIG, k=10).recall is None


def test_recall_knows_one_index_from_another(database, column, execute):
    """The names of further spaces' indexes begin with the first one's name."""
    insert_vectors(database, column, unit_vectors(50))
    execute(f"CREATE INDEX {column.index}_other ON knowledge_base USING hnsw (embedding vector_cosine_ops)")
    assert measure_recall(database, column, CONFIG).recall is None


@pytest.mark.parametrize(
    ("changed", "uses"), [({}, False), ({"enable_seqscan": "off"}, True), ({"enable_indexscan": "off"}, False)]
)
def test_whether_the_planner_uses_the_index_and_what_is_exact_whatever_the_server_is_set_to(
    database, column, execute, changed, uses
):
    insert_vectors(database, column, unit_vectors(50))
    build_vector_index(database, column, CONFIG)
    [(name,)] = execute("SELECT current_database()")
    for key, value in changed.items():
        execute(f'ALTER DATABASE "{name}" SET {key} = {value}')
    database.close()
    sample = measure_recall(database, column, CONFIG)
    assert (sample.planner_uses_index, sample.recall) == (uses, 1.0)
    search = NeighbourSearch(database, column, 10)
    [query] = sample_queries(database, column, 1)
    assert search.can_use_index(query)
    assert search.is_exact(query)


def test_a_search_that_is_not_exact_is_noticed(database, column, monkeypatch):
    insert_vectors(database, column, unit_vectors(50))
    build_vector_index(database, column, CONFIG)
    monkeypatch.setattr(neighbours, "_forbid_indexes", neighbours._force_index)
    sample = measure_recall(database, column, CONFIG)
    assert (sample.recall, sample.reason) == (None, "the server reads an index even where that is turned off")


def test_rows_that_are_deleted_meanwhile_are_left_out(database, column, execute, monkeypatch):
    insert_vectors(database, column, unit_vectors(50))
    build_vector_index(database, column, CONFIG)
    sample = sample_queries(database, column, 11)

    def take_and_delete(*_):
        execute("DELETE FROM knowledge_base WHERE NOT chunk_hash = ANY(%s)", [query.chunk_hash for query in sample])
        execute("DELETE FROM knowledge_base WHERE chunk_hash = %s", sample[0].chunk_hash)
        return sample

    monkeypatch.setattr(recall, "sample_queries", take_and_delete)
    measured = measure_recall(database, column, CONFIG)
    # Only the deleted row itself still has ten others.
    assert (measured.queries, measured.recall) == (1, 1.0)
    execute("DELETE FROM knowledge_base WHERE chunk_hash = %s", sample[1].chunk_hash)
    measured = measure_recall(database, column, CONFIG)
    assert (measured.recall, measured.reason) == (None, "the vectors were deleted meanwhile")


# Intervals


@pytest.mark.parametrize(
    ("recalls", "k", "low", "high"),
    [
        # Wilson's interval of 10 out of 10, of none, and of half of 100.
        ([1.0] * 10, 10, 0.7225, 1.0),
        ([0.0] * 10, 10, 0.0, 0.2775),
        ([0.0, 1.0] * 50, 10, 0.4038, 0.5962),
        # All alike, so nothing is known of how much they vary: as if each query were one trial.
        ([0.5] * 100, 10, 0.4038, 0.5962),
        # 1,000 neighbours found or missed independently of each other, as 500 of 1,000.
        ([0.4, 0.6] * 50, 10, 0.4691, 0.5309),
        ([0.9], 10, 0.1677, 0.9975),
    ],
)
def test_intervals(recalls, k, low, high):
    assert recall_interval(recalls, k) == (pytest.approx(low, abs=5e-4), pytest.approx(high, abs=5e-4))


@pytest.mark.parametrize(
    ("recalls", "trials"),
    [
        ([1.0] * 100, None),
        ([0.5] * 8, None),
        # A tenth missed here and there, as if each neighbour were on its own.
        ([1.0] * 98 + [0.9] * 2, 1000),
        # All or nothing, as if there were but one neighbour.
        ([1.0] * 98 + [0.0] * 2, 100),
    ],
)
def test_neighbours_missed_together_are_no_trials_of_their_own(recalls, trials):
    assert independent_trials(recalls, 10) == (trials and pytest.approx(trials))


def test_where_nothing_was_missed_other_points_show_how_sure_that_is():
    alone, _ = recall_interval([1.0] * 100, 10)
    beside, _ = recall_interval([1.0] * 100, 10, otherwise=1000)
    assert alone == pytest.approx(0.963, abs=5e-4)
    assert beside == pytest.approx(0.996, abs=5e-4)


@pytest.mark.parametrize(("recall_", "spread"), [(0.9, 8.0), (0.97, 20.0), (0.6, 1.0)])
def test_an_interval_holds_the_truth_as_often_as_it_says(recall_, spread):
    """Queries that differ in how well their neighbours are found, by a beta distribution."""
    generator = np.random.default_rng(5)
    held = 0
    for _ in range(1000):
        of_query = generator.beta(recall_ * spread, (1 - recall_) * spread, size=100)
        low, high = recall_interval(list(generator.binomial(10, of_query) / 10), 10)
        held += low <= recall_ <= high
    assert held >= 935
