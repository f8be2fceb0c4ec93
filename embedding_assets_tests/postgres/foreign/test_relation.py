import numpy as np
import pytest

from embedding_assets.errors import ConfigurationError
from embedding_assets.postgres.foreign import snapshot
from embedding_assets.postgres.foreign.relation import as_vector, find_column, read_column, split_column


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("articles.vec", ("articles", "vec")),
        ("shop.articles.vec", ("shop.articles", "vec")),
        ('shop."My Notes"."The vec"', ('shop."My Notes"', "The vec")),
    ],
)
def test_a_column_is_named_as_in_sql(beside, text, parts):
    assert split_column(beside, text) == parts


@pytest.mark.parametrize("text", ["vec", "a..b", '"open', ""])
def test_what_names_no_column_is_refused(beside, text):
    with pytest.raises(ConfigurationError, match="does not name a column"):
        split_column(beside, text)


@pytest.mark.parametrize("kind", ["vector(3)", "halfvec(3)", "real[]", "double precision[]"])
def test_vectors_of_every_type_are_read_in_portions(database, beside, monkeypatch, kind):
    monkeypatch.setattr(snapshot, "PORTION_ROWS", 2)
    beside.execute(f'CREATE TABLE o (a int, "b %" text, v {kind})')
    value = "'[1,2,3]'" if "vec" in kind else "'{1,2,3}'"
    beside.execute(f"INSERT INTO o SELECT n, CASE WHEN n < 5 THEN 'k' || n END, {value} FROM generate_series(1, 5) n")
    beside.execute("INSERT INTO o VALUES (9, 'none', NULL)")
    with snapshot.snapshot(database) as connection:
        found = find_column(connection, "o", ["a", "b %"], "v")
        portions = list(read_column(connection, found))
    assert [len(portion) for portion in portions] == [2, 2, 1]
    rows = [row for portion in portions for row in portion]
    assert [row.key for row in rows] == [("1", "k1"), ("2", "k2"), ("3", "k3"), ("4", "k4"), ("5", None)]
    assert all(row.vector.tolist() == [1, 2, 3] and row.vector.dtype == np.float32 for row in rows)


def test_numbers_that_are_none_are_not_taken_for_zero():
    assert as_vector(None) is None
    assert np.isnan(as_vector([1.0, None])).tolist() == [False, True]
    assert np.isinf(as_vector([1e300, 0.0])).tolist() == [True, False]
