"""A week of other subjects differs from all; one of the same does not, however few its chunks are."""

from datetime import date, timedelta

import numpy as np
import pytest

from embedding_assets.errors import ConfigurationError
from embedding_assets.health.drift import Drift, compare_weeks, measure_drift
from embedding_assets.postgres.spaces import register_space
from embedding_assets.postgres.weeks import Week
from embedding_assets_tests.support.shop import BIGINT, adopt_shop, fill, opened
from embedding_assets_tests.support.tables import SMALL_SPACE, insert_vectors, unit_vectors


def week(number: int, vectors: np.ndarray, chunks: int | None = None, documents: int | None = None) -> Week:
    """As many documents as vectors, unless it is said."""
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    count = documents or len(unit)
    origins = tuple(f"{number}/{one % count}" for one in range(len(unit)))
    return Week(date(2026, 3, 2) + timedelta(weeks=number), chunks or len(unit), count, unit, origins)


def about(subject: int, count: int, seed: int) -> np.ndarray:
    return unit_vectors(count, 16, seed) + 2 * np.eye(16, dtype=np.float32)[subject]


def test_only_other_subjects_differ():
    weeks = [week(number, about(0, count, number)) for number, count in enumerate([5, 300, 300, 40, 1])]
    weeks += [week(5, about(1, 60, 9)), week(6, np.concatenate([about(0, 100, 10), about(1, 9, 11)]))]
    found = compare_weeks(weeks)
    assert [one.differs for one in found] == [False] * 5 + [True, False]
    assert found[5].cosine < 0.5 < found[5].lowest_drawn
    assert all(one.cosine > 0.8 for one in found[1:4])
    assert (found[0].cosine, found[0].lowest_drawn) == (None, None)
    assert compare_weeks(weeks) == found


def test_documents_of_a_subject_each_do_not_make_a_week_differ():
    def documents(first: int, count: int) -> np.ndarray:
        """Forty chunks of each document, in turn."""
        return np.stack([about(subject, 40, subject) for subject in range(first, first + count)], axis=1).reshape(
            -1, 16
        )

    weeks = [week(0, documents(0, 8), documents=8), week(1, documents(8, 2), documents=2)]
    assert not compare_weeks(weeks)[1].differs
    # As documents of their own the same chunks would.
    assert compare_weeks([week(0, documents(0, 8)), week(1, documents(8, 2))])[1].differs


def test_earlier_weeks_weigh_what_they_have_and_not_what_was_read():
    large, small = week(0, about(0, 50, 1), chunks=5000), week(1, about(1, 50, 2))
    found = compare_weeks([large, small, week(2, about(0, 50, 3)), week(3, about(1, 50, 4))])
    assert found[2].cosine > 0.98 > 0.5 > found[3].cosine
    assert [one.sampled for one in found] == [50] * 4


def test_without_a_direction_there_is_no_cosine():
    nothing = Week(None, 3, 1, np.empty((0, 16), np.float32), ())
    same = week(1, about(0, 5, 1))
    assert [one.cosine for one in compare_weeks([nothing, same])] == [None, None]
    assert [one.cosine for one in compare_weeks([same, nothing, same])] == [None, None, pytest.approx(1)]
    opposite = Week(None, 2, 1, np.array([[1, 0], [-1, 0]], np.float32), ("a", "b"))
    found = compare_weeks([opposite, Week(None, 1, 1, np.array([[1, 0]], np.float32), ("c",))])
    assert (found[1].cosine, found[1].differs) == (None, False)
    assert compare_weeks([]) == []


def test_the_table(database):
    column = register_space(database, SMALL_SPACE)
    insert_vectors(database, column, unit_vectors(20))
    assert measure_drift(database, 4) == Drift(SMALL_SPACE.name, (), 20)


def test_what_cannot_be_measured_is_refused(database, settings, beside):
    with pytest.raises(ConfigurationError, match="embed` first"):
        measure_drift(database, 4)
    register_space(database, SMALL_SPACE, similarity="euclidean")
    with pytest.raises(ConfigurationError, match="by euclidean and not by a cosine"):
        measure_drift(database, 4)
    fill(beside, BIGINT, 3)
    with (
        opened(adopt_shop(settings, BIGINT)) as adopted,
        pytest.raises(ConfigurationError, match=r"rows of public.notes came is not known"),
    ):
        measure_drift(adopted, 4)
