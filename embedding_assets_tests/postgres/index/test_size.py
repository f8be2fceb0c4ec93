"""How large a graph is, in memory and on disk, agrees with the graphs that pgvector builds."""

import dataclasses

import pytest

from embedding_assets.config import IndexConfig
from embedding_assets.postgres.catalog import describe_index
from embedding_assets.postgres.index.build import build_vector_index
from embedding_assets.postgres.index.size import fresh_index_bytes, graph_memory_mb, is_bloated
from embedding_assets.postgres.spaces import register_space
from embedding_assets_tests.support.tables import SMALL_SPACE, insert_vectors, unit_vectors

PAGE = 8192


@pytest.mark.parametrize(
    ("rows", "dimensions", "m", "least", "most"),
    [
        (0, 768, 16, 1, 16),
        # Where the notice came when it was tried, in rows and MiB.
        (89_840, 8, 16, 64, 96),
        (17_705, 768, 16, 64, 96),
        (12_428, 768, 32, 51, 80),
        (7_681, 2000, 16, 64, 96),
        (1_000_000, 768, 16, 3_700, 5_000),
    ],
)
def test_the_memory_of_a_graph(rows, dimensions, m, least, most):
    assert least <= graph_memory_mb(rows, 4 * dimensions, m) <= most


@pytest.mark.parametrize(
    ("rows", "dimensions", "m", "pages"),
    [
        # As pgvector 0.8.5 built them, in memory, beyond it, and with workers: never more than a page apart.
        (5000, 8, 16, 206),
        (5000, 8, 2, 102),
        (5000, 64, 16, 349),
        (4000, 384, 16, 1001),
        (2000, 384, 64, 668),
        (3000, 768, 4, 1501),
        (3000, 768, 16, 1501),
        (2000, 768, 48, 1001),
        (2000, 1024, 16, 2001),
        (2000, 1536, 16, 2001),
        (1000, 2000, 16, 2001),
    ],
)
def test_the_size_of_a_fresh_index(rows, dimensions, m, pages):
    assert fresh_index_bytes(rows, 4 * dimensions, m) / PAGE == pytest.approx(pages, rel=0.01)


def test_the_size_of_none_and_of_many():
    assert fresh_index_bytes(0, 4 * 768, 16) == 2 * PAGE
    assert fresh_index_bytes(2_000_000, 4 * 768, 16) == (1_000_000 + 1) * PAGE


@pytest.mark.parametrize(
    ("rows", "dimensions", "m"),
    [(700, 8, 16), (700, 16, 2), (150, 768, 16), (40, 2000, 32), (60, 2001, 16), (30, 4000, 16)],
)
def test_an_index_built_here_has_that_size(database, rows, dimensions, m):
    column = register_space(database, dataclasses.replace(SMALL_SPACE, dimensions=dimensions))
    insert_vectors(database, column, unit_vectors(rows, dimensions))
    build_vector_index(database, column, IndexConfig(m=m, ef_construction=64))
    pages = describe_index(database, column.index).size_bytes // PAGE
    assert abs(fresh_index_bytes(rows, column.vector_bytes, m) // PAGE - pages) <= 1


@pytest.mark.parametrize(
    ("size", "bloat", "bloated"),
    [(2**20, 1.6, True), (2**20 - 1, 9.0, False), (2**30, 1.5, False), (2**30, None, False)],
)
def test_what_is_called_bloated(size, bloat, bloated):
    assert is_bloated(size, bloat, 1.5) is bloated
