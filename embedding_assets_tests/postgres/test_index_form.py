"""An index can hold halves of the numbers, or their signs; searches ask it in its own words, and the column last."""

import dataclasses
import re

import numpy as np
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from embedding_assets.config import IndexConfig, Settings
from embedding_assets.errors import ConfigurationError, DatabaseError
from embedding_assets.postgres.catalog import describe_index, form_for_search, vector_indexes
from embedding_assets.postgres.conditions import conditions_of
from embedding_assets.postgres.index.build import build_vector_index
from embedding_assets.postgres.index.lifecycle import build_indexes, drop_before_load
from embedding_assets.postgres.index.recall import measure_recall, planner_uses_index
from embedding_assets.postgres.index.size import fresh_index_bytes
from embedding_assets.postgres.index_form import IndexForm, form_to_build
from embedding_assets.postgres.spaces import list_spaces, register_space
from embedding_assets.postgres.vectors import write_vectors
from embedding_assets.spaces import SpaceColumn
from embedding_assets_tests.support.fakes import FAKE_SPACE, insert_chunks
from embedding_assets_tests.support.searching import nearest_chunks
from embedding_assets_tests.support.tables import (
    SMALL_SPACE,
    PlanRecorder,
    insert_vectors,
    pending_chunks,
    unit_vectors,
)

TYPES = ("vector", "halfvec", "bit")
SPACE = dataclasses.replace(FAKE_SPACE, dimensions=64)


@pytest.fixture
def large(monkeypatch) -> None:
    """No table is so small that signs are not worth asking for."""
    monkeypatch.setattr("embedding_assets.postgres.catalog.EXACT_SEARCH_ROWS", 10)


@pytest.fixture
def column(database) -> SpaceColumn:
    return register_space(database, SPACE)


def prefer_indexes(database, execute) -> None:
    execute("ANALYZE knowledge_base")
    [(name,)] = execute("SELECT current_database()")
    execute(f'ALTER DATABASE "{name}" SET enable_seqscan = off')
    database.close()


def search(database, column, vector, *, k=5, config=None, **where) -> list[tuple]:
    return nearest_chunks(
        database, column, vector, k=k, where=conditions_of(where), index=config or IndexConfig(ef_search=200)
    )


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean", "manhattan"])
@pytest.mark.parametrize("kind", TYPES)
def test_searches_use_an_index_of_each_type_and_return_the_exact_distance(
    database, execute, column, large, kind, similarity
):
    column = dataclasses.replace(column, similarity=similarity)
    vectors = unit_vectors(400, 64)
    hashes = insert_vectors(database, column, vectors)
    assert build_vector_index(database, column, IndexConfig(type=kind)) is not None
    prefer_indexes(database, execute)
    recorder = PlanRecorder(database)
    query = unit_vectors(1, 64, seed=3)[0]
    distances = {
        "cosine": 1 - vectors @ query,
        "dot": -vectors @ query,
        "euclidean": np.linalg.norm(vectors - query, axis=1),
        "manhattan": np.abs(vectors - query).sum(axis=1),
    }[similarity]
    rows = search(recorder, column, query)
    assert f"Index Scan using {column.index}" in recorder.plan
    assert len(rows[0]) == 6
    best = np.argsort(distances)[:5]
    assert [row[0] for row in rows] == [hashes[number] for number in best]
    assert [row[-1] for row in rows] == pytest.approx(distances[best], abs=1e-5)
    assert planner_uses_index(database, column, IndexConfig(ef_search=200))
    measured = measure_recall(database, column, IndexConfig(ef_search=200))
    assert measured.recall > 0.95
    assert measured.planner_uses_index


@pytest.mark.parametrize("kind", TYPES)
def test_the_expression_is_described_and_its_size_known(database, column, kind):
    insert_vectors(database, column, unit_vectors(600, 64))
    config = IndexConfig(type=kind)
    build_vector_index(database, column, config)
    state = describe_index(database, column.index)
    assert state.form(column) == IndexForm(column, kind)
    assert state.matches(column, config)
    pages = fresh_index_bytes(600, state.vector_bytes(column), 16) // 8192
    assert abs(state.size_bytes // 8192 - pages) <= 1
    assert build_vector_index(database, column, config) is None


@pytest.mark.parametrize(
    ("kind", "k", "ef_search", "candidates", "fewest"),
    [
        ("halfvec", 5, 400, 5, 5),
        ("bit", 5, 40, 50, 20),
        ("bit", 5, 400, 400, 20),
        ("bit", 300, 40, 1000, 1000),
        ("bit", 2000, 40, 2000, 2000),
    ],
)
def test_how_many_candidates_are_asked_for(column, kind, k, ef_search, candidates, fewest):
    form = IndexForm(column, kind)
    assert (form.candidates(k, ef_search), form.fewest(k)) == (candidates, fewest)


@pytest.mark.parametrize("kind", TYPES)
def test_filters_and_rare_values(database, execute, column, large, kind):
    vectors = unit_vectors(600, 64)
    hashes = insert_vectors(database, column, vectors)
    execute("UPDATE knowledge_base SET document_metadata = '{\"source\": \"rare\"}' WHERE chunk_hash = ANY(%s)",
            hashes[-7:])  # fmt: skip
    build_vector_index(database, column, IndexConfig(type=kind))
    [(name,)] = execute("SELECT current_database()")
    for setting in ("hnsw.max_scan_tuples = 1", "enable_bitmapscan = off"):
        execute(f'ALTER DATABASE "{name}" SET {setting}')
    prefer_indexes(database, execute)
    order = np.argsort(-(vectors[-7:] @ vectors[0]))
    for _ in range(7):  # prepared from the sixth on
        rows = search(database, column, vectors[0], k=3, source="rare")
        assert [row[0] for row in rows] == [hashes[-7:][number] for number in order[:3]]
    assert search(database, column, vectors[0], source="none") == []
    assert len(search(database, column, vectors[0], k=700)) == 600


def test_more_answers_than_an_index_examines_at_once(database, execute, column, large):
    insert_vectors(database, column, vectors := unit_vectors(1100, 64))
    build_vector_index(database, column, IndexConfig(type="bit"))
    prefer_indexes(database, execute)
    assert len(search(database, column, vectors[0], k=1050)) == 1050


def test_signs_alone_are_not_asked_where_the_column_is_quickly_read(database, execute, column):
    vectors = unit_vectors(300, 64)
    insert_vectors(database, column, vectors)
    config = IndexConfig(type="bit")
    build_vector_index(database, column, config)
    prefer_indexes(database, execute)
    assert database.run(lambda connection: form_for_search(connection, database.table, column)) is None
    recorder = PlanRecorder(database)
    search(recorder, column, vectors[0])
    assert column.index not in recorder.plan
    assert not planner_uses_index(database, column, config)


@pytest.mark.parametrize("kind", TYPES)
def test_zero_vectors_take_no_place_among_the_candidates(database, execute, kind, large):
    column = register_space(database, dataclasses.replace(SPACE, normalized=False))
    vectors = unit_vectors(200, 64) * np.linspace(0.1, 9, 200, dtype=np.float32)[:, None]
    vectors[50:150] = 0
    hashes = insert_vectors(database, column, vectors)
    build_vector_index(database, column, IndexConfig(type=kind))
    prefer_indexes(database, execute)
    # No component is positive, so its signs are those of a zero vector.
    query = -np.abs(unit_vectors(1, 64)[0])
    kept = [*range(50), *range(150, 200)]
    cosines = [vectors[number] @ query / np.linalg.norm(vectors[number]) for number in kept]
    best = [hashes[kept[place]] for place in np.argsort(cosines)[::-1][:5]]
    assert [row[0] for row in search(database, column, query)] == best


@pytest.mark.parametrize(("before", "after"), [("vector", "halfvec"), ("halfvec", "bit"), ("bit", "vector")])
def test_a_changed_type_is_built_beside_the_index_that_goes_on_serving(
    database, execute, column, large, monkeypatch, before, after
):
    vectors = unit_vectors(300, 64)
    hashes = insert_vectors(database, column, vectors)
    build_vector_index(database, column, IndexConfig(type=before))
    prefer_indexes(database, execute)
    changed = IndexConfig(type=after, ef_search=200)

    def plan_of_search() -> str:
        recorder = PlanRecorder(database)
        assert [row[0] for row in search(recorder, column, vectors[7], k=1, config=changed)] == [hashes[7]]
        return recorder.plan

    assert not describe_index(database, column.index).matches(column, changed)
    assert f"Index Scan using {column.index}" in plan_of_search(), "the setting alone changes no search"
    seen = []
    create = "embedding_assets.postgres.index.build.create_index"
    module, _, name = create.rpartition(".")
    original = getattr(__import__(module, fromlist=[name]), name)

    def watched(*args):
        original(*args)
        seen.append(plan_of_search())

    monkeypatch.setattr(create, watched)
    assert build_vector_index(database, column, changed) is not None
    assert f"Index Scan using {column.index}" in seen[0]
    assert describe_index(database, column.index).form(column) == IndexForm(column, after)
    assert f"Index Scan using {column.index} on" in plan_of_search()
    assert build_vector_index(database, column, changed) is None


@pytest.mark.parametrize("kind", TYPES)
def test_an_unset_type_rebuilds_nothing(database, column, kind):
    insert_vectors(database, column, unit_vectors(50, 64))
    build_vector_index(database, column, IndexConfig(type=kind))
    assert build_vector_index(database, column, IndexConfig()) is None
    assert describe_index(database, column.index).matches(column, IndexConfig())


def test_a_load_drops_an_index_of_any_type(database, column):
    insert_vectors(database, column, unit_vectors(5, 64))
    build_vector_index(database, column, IndexConfig(type="bit"))
    assert drop_before_load(database, column, loading=100).decision == "defer"
    assert not describe_index(database, column.index).exists


@pytest.mark.parametrize(
    "expression",
    [
        "(embedding::halfvec(64)) halfvec_l2_ops",
        "(subvector(embedding, 1, 8)::halfvec(8)) halfvec_cosine_ops",
        "(binary_quantize(embedding)::bit(64)) bit_jaccard_ops",
        "(l2_normalize(embedding)::vector(64)) vector_cosine_ops",
        "embedding vector_cosine_ops) WHERE (chunk_hash > 'a'",
    ],
)
def test_indexes_that_searches_cannot_use_are_not_taken_for_ours(database, execute, column, expression):
    insert_vectors(database, column, unit_vectors(50, 64))
    execute(f"CREATE INDEX theirs ON knowledge_base USING hnsw ({expression})")
    assert database.run(lambda connection: vector_indexes(connection, database.table, column)) == []


def test_names_that_need_quotes(database, execute):
    for name in ('Em"b c', "halfvec", "binary_quantize", "CASE"):
        quoted = '"' + name.replace('"', '""') + '"'
        execute(f"ALTER TABLE knowledge_base ADD COLUMN {quoted} vector(8)")
        column = SpaceColumn(SMALL_SPACE, name, "none", serving=False)
        for kind in TYPES:
            form = IndexForm(column, kind)
            key = database.run(lambda connection, form=form: form.key.as_string(connection))
            execute(f"CREATE INDEX found ON knowledge_base USING hnsw ({key})")
            [state] = database.run(lambda connection, column=column: vector_indexes(connection, database.table, column))
            assert state.form(column) == form
            execute("DROP INDEX found")


def test_an_index_is_recognized_where_pgvector_is_not_on_the_search_path(database, execute, column, database_url):
    insert_vectors(database, column, unit_vectors(20, 64))
    for kind in ("halfvec", "bit"):
        build_vector_index(database, column, IndexConfig(type=kind))
        away = make_conninfo(database_url, options="-c search_path=nowhere")
        with psycopg.connect(away) as connection:
            [state] = vector_indexes(connection, database.table, column)
            assert state.form(column) == IndexForm(column, kind)


# Dimensions


@pytest.mark.parametrize(
    ("kind", "dimensions", "remedy"),
    [
        ("vector", 2001, "with EMBEDDING_INDEX_TYPE=vector can have at most 2,000; set EMBEDDING_INDEX_TYPE=halfvec"),
        ("halfvec", 4001, "at most 4,000; set EMBEDDING_INDEX_TYPE=bit, which can have 16,000"),
        (None, 4001, "an index can have at most 4,000; set EMBEDDING_INDEX_TYPE=bit"),
        ("bit", 16_001, "at most 16,000; choose another model"),
    ],
)
def test_the_type_says_how_many_dimensions_there_can_be(database, kind, dimensions, remedy):
    with pytest.raises(ConfigurationError, match=re.escape(remedy)):
        register_space(database, dataclasses.replace(SPACE, dimensions=dimensions), index_type=kind)
    assert list_spaces(database) == []


@pytest.mark.parametrize(
    ("kind", "dimensions", "built"),
    [("vector", 3072, "halfvec"), ("bit", 3072, "bit"), (None, 3072, "halfvec"), ("bit", 5000, "bit"),
     ("vector", 5000, "bit")],
)  # fmt: skip
def test_a_long_vector_gets_the_next_type_that_is_possible(database, execute, large, kind, dimensions, built):
    space = dataclasses.replace(SPACE, dimensions=dimensions)
    column = register_space(database, space, index_type="bit")
    vectors = unit_vectors(60, dimensions)
    hashes = insert_vectors(database, column, vectors)
    build_vector_index(database, column, IndexConfig(type=kind))
    assert describe_index(database, column.index).form(column) == IndexForm(column, built)
    prefer_indexes(database, execute)
    recorder = PlanRecorder(database)
    assert search(recorder, column, vectors[8], k=1)[0][0] == hashes[8]
    assert f"Index Scan using {column.index}" in recorder.plan


def test_a_filled_column_of_too_many_dimensions_for_vector_is_indexed_by_halves(database, execute):
    execute("ALTER TABLE knowledge_base ALTER COLUMN embedding TYPE vector(3072)")
    column = SpaceColumn(dataclasses.replace(SPACE, dimensions=3072), "embedding", "", serving=True)
    hashes = insert_vectors(database, column, vectors := unit_vectors(40, 3072))
    column = register_space(database, column.space, claim_vectors=True)
    assert column.storage == "vector"
    assert form_to_build(column, "vector").type == "halfvec"
    build_vector_index(database, column, IndexConfig())
    prefer_indexes(database, execute)
    recorder = PlanRecorder(database)
    assert search(recorder, column, vectors[3], k=1)[0][0] == hashes[3]
    assert f"Index Scan using {column.index}" in recorder.plan


def test_numbers_that_halves_cannot_hold_are_named_with_the_setting(database):
    column = register_space(database, dataclasses.replace(SMALL_SPACE, normalized=False))
    insert_vectors(database, column, unit_vectors(9) * np.float32(1e6))
    with pytest.raises(DatabaseError, match="that 2 bytes cannot hold; set EMBEDDING_INDEX_TYPE=vector"):
        build_vector_index(database, column, IndexConfig(type="halfvec"))
    assert build_vector_index(database, column, IndexConfig(type="vector")) is not None


def test_a_row_that_an_index_of_halves_refuses_is_refused_alone(database):
    column = register_space(database, dataclasses.replace(SMALL_SPACE, normalized=False))
    build_vector_index(database, column, IndexConfig(type="halfvec"))
    insert_chunks(database, ["one", "two", "three"])
    vectors = unit_vectors(3)
    vectors[1] *= np.float32(1e6)
    chunks = pending_chunks(database, column)
    outcome = write_vectors(database, column, chunks, vectors)
    assert outcome.refused == {chunks[1].chunk_hash}
    assert outcome.written == {chunks[0].chunk_hash, chunks[2].chunk_hash}


def test_several_spaces_have_indexes_of_the_type(database, column, settings: Settings):
    other = register_space(database, dataclasses.replace(SPACE, model="fake/other", dimensions=32), new_space=True)
    insert_vectors(database, column, unit_vectors(60, 64))
    with database.session() as connection:
        connection.execute(f"UPDATE knowledge_base SET {other.name} = subvector(embedding, 1, 32)")
    reports = build_indexes(database, column, IndexConfig(type="halfvec"))
    assert [report.state.operator_class for report in reports] == ["halfvec_cosine_ops"] * 2
    assert [report.measurement.bloat for report in reports] == pytest.approx([1, 1], abs=0.5)
