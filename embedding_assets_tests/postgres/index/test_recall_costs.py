"""What measuring recall may cost: how many queries, how long each, and what is given up."""

import threading

import pytest

from embedding_assets.config import IndexConfig
from embedding_assets.errors import DatabaseError
from embedding_assets.postgres.index import neighbours, recall
from embedding_assets.postgres.index.build import build_vector_index
from embedding_assets.postgres.index.neighbours import NeighbourSearch, StoredQuery, sample_queries
from embedding_assets.postgres.index.recall import has_asked_enough, measure_recall
from embedding_assets_tests.support.tables import insert_vectors, unit_vectors

CONFIG = IndexConfig()


@pytest.mark.parametrize(
    ("queries", "seconds", "enough"),
    [
        (1, 0.1, False),
        (19, 59, False),
        (19, 299, False),
        (20, 59.9, False),
        (20, 60, True),
        (60, 60, True),
        (99, 59, False),
        (1, 300, True),
        (7, 301, True),
    ],
)
def test_how_many_queries_are_enough(queries, seconds, enough):
    assert has_asked_enough(queries, seconds) is enough


@pytest.mark.parametrize(("budget", "queries"), [(0, 20), (60, 40)])
def test_the_time_that_exact_search_takes_decides_on_the_queries(database, column, monkeypatch, budget, queries):
    insert_vectors(database, column, unit_vectors(50))
    build_vector_index(database, column, CONFIG)
    monkeypatch.setattr(recall, "_BUDGET_SECONDS", budget)
    sample = measure_recall(database, column, CONFIG, queries=40)
    assert (sample.queries, sample.recall) == (queries, 1.0)


def test_slow_queries_have_a_transaction_each(database, column, monkeypatch):
    insert_vectors(database, column, unit_vectors(30))
    queries = sample_queries(database, column, 20)
    search = NeighbourSearch(database, column, 10)
    transactions = []
    ask = database.run
    monkeypatch.setattr(database, "run", lambda work: transactions.append(work) or ask(work))
    quick = search.exact(queries, enough=lambda _: False)
    assert len(transactions) < 20
    transactions.clear()
    monkeypatch.setattr(neighbours, "_TRANSACTION_SECONDS", 0)
    slow = search.exact(queries, enough=lambda _: False)
    assert len(transactions) == 20
    assert [answer.distances for answer in slow] == [answer.distances for answer in quick]
    assert len(search.exact(queries, enough=lambda count: count == 3)) == 3
    assert isinstance(queries[0], StoredQuery)


def test_a_query_that_takes_too_long_is_cancelled_and_what_was_answered_is_kept(database, column, beside, monkeypatch):
    insert_vectors(database, column, unit_vectors(30))
    queries = sample_queries(database, column, 20)
    search = NeighbourSearch(database, column, 10)

    transactions = []
    run = database.run

    def lock_before_the_fourth(work):
        transactions.append(work)
        if len(transactions) == 4:
            beside.execute("BEGIN; LOCK TABLE knowledge_base IN ACCESS EXCLUSIVE MODE")
        return run(work)

    monkeypatch.setattr(neighbours, "_TRANSACTION_SECONDS", 0)
    monkeypatch.setattr(database, "run", lock_before_the_fourth)
    cut_off = search.exact(queries, seconds=2)
    assert search.exact(queries, seconds=0.2) == []
    beside.execute("ROLLBACK")
    assert [answer.distances for answer in cut_off] == [answer.distances for answer in search.exact(queries[:3])]
    assert len(cut_off) == 3


def test_a_query_that_somebody_else_cancels_is_an_error(database, column, beside):
    insert_vectors(database, column, unit_vectors(30))
    search = NeighbourSearch(database, column, 10)
    queries = sample_queries(database, column, 20)
    beside.execute("BEGIN; LOCK TABLE knowledge_base IN ACCESS EXCLUSIVE MODE")

    def cancel() -> None:
        query = (
            "SELECT pg_cancel_backend(pid) FROM pg_locks WHERE NOT granted AND relation = 'knowledge_base'::regclass"
        )
        while not beside.execute(query).fetchall():
            pass

    canceller = threading.Thread(target=cancel)
    canceller.start()
    with pytest.raises(DatabaseError, match="canceling statement due to user request"):
        search.exact(queries, seconds=60)
    canceller.join()
    beside.execute("ROLLBACK")


@pytest.mark.parametrize(
    ("slow", "reason"),
    [("exact", "a single exact search takes longer than 0.2 s"),
     ("by_index", "30 searches by the index take longer than 0.2 s")],
)  # fmt: skip
def test_searches_that_take_for_ever_are_given_up(database, column, beside, monkeypatch, slow, reason):
    insert_vectors(database, column, unit_vectors(30))
    build_vector_index(database, column, CONFIG)
    monkeypatch.setattr(recall, "_LIMIT_SECONDS", 0.2 if slow == "exact" else 60)
    search = getattr(NeighbourSearch, slow)

    def lock_and_search(*arguments, **options):
        monkeypatch.setattr(recall, "_LIMIT_SECONDS", 0.2)
        beside.execute("BEGIN; LOCK TABLE knowledge_base IN ACCESS EXCLUSIVE MODE")
        found = search(*arguments, **{**options, "seconds": 0.2})
        beside.execute("ROLLBACK")
        return found

    monkeypatch.setattr(NeighbourSearch, slow, lock_and_search)
    sample = measure_recall(database, column, CONFIG)
    assert (sample.recall, sample.reason) == (None, reason)


def test_a_curve_for_which_there_is_no_time_has_the_configured_point_only(database, column, monkeypatch):
    insert_vectors(database, column, unit_vectors(30))
    build_vector_index(database, column, CONFIG)
    monkeypatch.setattr(recall, "_CURVE_SECONDS", 0)
    sample = measure_recall(database, column, CONFIG)
    assert [point.ef_search for point in sample.curve] == [40]
    assert (sample.recall, sample.p50_ms) == (1.0, sample.curve[0].p50_ms)


def test_the_sample_is_read_in_the_order_of_an_adopted_tables_index(database, column, execute):
    """Where that is not the order of "C", sorting by it would read every vector."""
    insert_vectors(database, column, unit_vectors(3000))
    execute('ALTER TABLE knowledge_base ALTER COLUMN chunk_hash TYPE text COLLATE "ucs_basic"')
    execute("ANALYZE knowledge_base")
    database.close()  # another session, which has counted nothing yet

    def sample(connection):
        found = neighbours._sample(connection, database.table, column, 20)
        query = "SELECT seq_tup_read, idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'knowledge_base'"
        return len(found), *connection.execute(query).fetchone()

    asked, read, fetched = database.run(sample)
    assert (asked, read) == (20, 0)
    assert fetched < 100
