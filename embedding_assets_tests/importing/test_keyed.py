"""Vectors with keys, from another table and from Parquet files, into the rows that have these keys."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from uuid import UUID

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from embedding_assets_tests.importing.conftest import adopt
from embedding_assets_tests.support import processes
from embedding_assets_tests.support.fakes import hash_of, insert_chunks
from embedding_assets_tests.support.foreign import as_text, make_articles, other_model, sentences, vectors_of
from embedding_assets_tests.support.tables import stored_vectors


def write_parquet(path, keys, vectors, *, name="chunk_hash", kind=None):
    rows = [None if vector is None else np.asarray(vector).tolist() for vector in vectors]
    column = pyarrow.array(rows, type=kind or pyarrow.list_(pyarrow.float32()))
    pyarrow.parquet.write_table(pyarrow.table({name: keys, "vec": column}), path, row_group_size=30)
    return path


@pytest.fixture
def vectors(settings, texts):
    return vectors_of(settings, texts)


@pytest.fixture
def chunks(database, texts):
    return insert_chunks(database, texts)


def assert_stored(run, database, texts, vectors, *, of=None):
    from embedding_assets.postgres.spaces import list_spaces

    [column] = list_spaces(database)
    found = stored_vectors(database, column)
    assert set(found) == {hash_of(text) for text in (of or texts)}
    right = dict(zip(map(hash_of, texts), vectors, strict=True))
    for chunk_hash, vector in found.items():
        np.testing.assert_array_equal(vector, right[chunk_hash])


def test_parquet_into_knowledge_base_twice(run, taken, database, chunks, texts, vectors, tmp_path):
    path = write_parquet(tmp_path / "v.parquet", chunks, vectors)
    checked = taken("parquet", path, "--vector", "vec", "--check")
    assert (checked["usable"], checked["written"], checked["checked_only"]) == (80, 0, True)
    assert json.loads(run("spaces", "--json")[1]) == []

    report = taken("parquet", path, "--vector", "vec")
    assert (report["compared"], report["written"], report["passed_over"], report["refused"]) == (64, 80, 0, {})
    assert_stored(run, database, texts, vectors)
    again = taken("parquet", path, "--vector", "vec")
    assert (again["present"], again["usable"], again["written"], again["compared"]) == (80, 0, 0, 0)

    insert_chunks(database, ["one more"])
    assert json.loads(run("embed", "--json", "--no-index")[1])["embedded"] == 1


def test_an_edited_row_gets_no_old_vector_when_the_import_is_run_again(
    run, taken, refused, database, chunks, texts, vectors, tmp_path, beside
):
    path = write_parquet(tmp_path / "v.parquet", chunks, vectors)
    taken("parquet", path, "--vector", "vec")
    beside.execute("UPDATE knowledge_base SET chunk_text = 'now something else' WHERE chunk_hash = %s", [chunks[0]])
    assert "1 of 1 vectors are not what" in refused("parquet", path, "--vector", "vec")
    assert json.loads(run("embed", "--json", "--no-index")[1])["embedded"] == 1


def test_what_is_unfit_is_counted_and_listed(taken, database, chunks, texts, vectors, tmp_path):
    bad = [
        ("f" * 64, vectors[0]),
        (chunks[0], vectors[0][:5]),
        (chunks[1], np.full(768, np.nan)),
        (chunks[2], np.zeros(768)),
        (chunks[3], 2 * vectors[3]),
        (chunks[4], None),
        (None, vectors[5]),
        (chunks[6], vectors[6]),
        (chunks[6], vectors[7]),
    ]
    good = list(zip(chunks[10:], vectors[10:], strict=True))
    keys, given = zip(*bad, *good, strict=True)
    report = taken("parquet", write_parquet(tmp_path / "v.parquet", list(keys), given), "--vector", "vec")
    assert report["refused"] == dict.fromkeys(
        ["no_key", "unmatched_key", "wrong_dimensions", "not_finite", "zero_vector", "not_unit_length", "no_vector",
         "repeated_key"], 1)  # fmt: skip
    assert report["examples"]["unmatched_key"] == ["f" * 64]
    assert report["examples"]["zero_vector"] == [chunks[2]]
    assert report["written"] == 71
    assert_stored(None, database, texts, vectors, of=[texts[6], *texts[10:]])


@pytest.mark.parametrize(
    ("spoil", "guess"),
    [
        (other_model, "of another model"),
        (lambda vectors: vectors * 2, "each is 2 times as long"),
        (lambda vectors: vectors[:, :100], "they have 100 dimensions"),
    ],
    ids=["model", "scale", "dimensions"],
)
def test_other_vectors_are_refused(run, refused, chunks, vectors, tmp_path, spoil, guess):
    path = write_parquet(tmp_path / "v.parquet", chunks, spoil(vectors))
    assert guess in refused("parquet", path, "--vector", "vec")
    assert json.loads(run("spaces", "--json")[1]) == []


def test_texts_that_were_embedded_without_their_header_are_named(refused, database, settings, texts, tmp_path):
    chunks = insert_chunks(database, texts, context_header="A heading that says something of its own")
    path = write_parquet(tmp_path / "v.parquet", chunks, vectors_of(settings, texts))
    assert "the text without its header" in refused("parquet", path, "--vector", "vec")


def test_files_and_columns_that_do_not_fit_are_refused(run, refused, chunks, vectors, tmp_path):
    path = write_parquet(tmp_path / "v.parquet", chunks, vectors)
    assert "has no column nothing" in refused("parquet", path, "--vector", "nothing")
    assert "a vector is a list" in refused("parquet", path, "--vector", "chunk_hash", "--key", "chunk_hash")
    assert "name a column for each" in refused("parquet", path, "--vector", "vec", "--key", "a,b")
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(path.read_bytes()[:200])
    code, _, err = run("import", "parquet", broken, "--vector", "vec")
    assert (code, "not a readable Parquet file" in err) == (1, True)


@pytest.mark.parametrize("key", ["bigint", "uuid", "timestamptz", "text"])
def test_keys_of_an_adopted_table_from_parquet(run, taken, refused, settings, beside, texts, vectors, tmp_path, key):
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    keys = {
        "bigint": list(range(80)),
        "uuid": [UUID(int=n).bytes for n in range(80)],
        "timestamptz": [moment.replace(microsecond=n) for n in range(80)],
        "text": [f'a,"{n}\\' for n in range(80)],
    }[key]
    shown = [str(UUID(bytes=one)) if key == "uuid" else one for one in keys]
    beside.execute(f"CREATE TABLE articles (id {key} PRIMARY KEY, body text)")
    beside.cursor().executemany("INSERT INTO articles VALUES (%s, %s)", list(zip(shown, texts, strict=True)))
    adopt(run)
    os.environ["EMBEDDING_TABLE"] = "articles"
    try:
        path = write_parquet(
            tmp_path / "v.parquet", keys, vectors, name="number", kind=pyarrow.list_(pyarrow.float64())
        )
        assert taken("parquet", path, "--vector", "vec", "--key", "number")["written"] == 80
        if key == "bigint":
            names = write_parquet(tmp_path / "n.parquet", [f"x{n}" for n in range(80)], vectors, name="id")
            assert "whose key is id (bigint)" in refused("parquet", names, "--vector", "vec")
    finally:
        del os.environ["EMBEDDING_TABLE"]
    assert beside.execute("SELECT count(*) FROM articles WHERE vec IS NULL").fetchone() == (0,)


def test_a_column_of_another_table(run, taken, refused, database, chunks, texts, vectors, beside):
    beside.execute('CREATE TABLE "Old" (hash text, "The %% vec" real[])'.replace("%%", "%"))
    beside.cursor().executemany(
        'INSERT INTO "Old" VALUES (%s, %s)',
        [(one, vector.tolist()) for one, vector in zip(chunks, vectors, strict=True)],
    )
    options = ("column", "--from", '"Old"', "--column", "The % vec")
    assert "has no column chunk_hash" in refused(*options)
    assert "holds" not in refused("column", "--from", '"Old"', "--column", "hash", "--key", "hash")
    assert taken(*options, "--key", "hash")["written"] == 80
    assert_stored(run, database, texts, vectors)


def test_what_is_edited_while_it_is_copied_is_passed_over(taken, database, chunks, texts, vectors, beside, monkeypatch):
    from embedding_assets.importing import keyed

    def writing(*arguments, write=keyed.write_vectors):
        # After the copy's snapshot, before anything is written.
        beside.execute("UPDATE knowledge_base SET chunk_text = 'edited' WHERE chunk_hash = %s", [chunks[7]])
        return write(*arguments)

    make_articles(beside, texts, vectors)
    beside.execute("ALTER TABLE articles ADD COLUMN chunk_hash text")
    for number, one in enumerate(chunks):
        beside.execute("UPDATE articles SET chunk_hash = %s WHERE id = %s", [one, number])
    monkeypatch.setattr(keyed, "write_vectors", writing)
    report = taken("column", "--from", "articles", "--column", "vec")
    assert (report["written"], report["passed_over"]) == (79, 1)
    assert beside.execute("SELECT chunk_hash FROM knowledge_base WHERE embedding IS NULL").fetchall() == [(chunks[7],)]


def test_rows_that_a_run_works_on_are_not_written(run, refused, database, chunks, vectors, tmp_path, taken):
    from contextlib import closing

    from embedding_assets.postgres.locks import PrefixLocks

    path = write_parquet(tmp_path / "v.parquet", chunks, vectors)
    name = taken("parquet", path, "--vector", "vec", "--check")["space"]
    with closing(PrefixLocks(database, name)) as locks:
        locks.acquire(range(3))
        assert "a run is embedding in space" in refused("parquet", path, "--vector", "vec")


KILLED = """
import os, sys
from embedding_assets.importing import keyed
from embedding_assets.postgres.foreign import snapshot, relation
import embedding_assets.importing.parquet as parquet
parquet.PORTION_ROWS = 10
count = 0
def write(*arguments, write=keyed.write_vectors):
    global count
    count += 1
    outcome = write(*arguments)
    if count == 3:
        os.kill(os.getpid(), 9)
    return outcome
keyed.write_vectors = write
from embedding_assets.cli.app import main
sys.argv = ["embedding-assets", "import", "parquet", sys.argv[1], "--vector", "vec", "--json"]
main()
"""


def test_killed_midway_and_run_again_it_ends_the_same(run, taken, database, chunks, texts, vectors, tmp_path, beside):
    path = write_parquet(tmp_path / "v.parquet", chunks, vectors)
    process = processes.start([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.wait(timeout=120) == -9
    assert beside.execute("SELECT count(embedding) FROM knowledge_base").fetchone() == (30,)
    report = taken("parquet", path, "--vector", "vec")
    assert (report["present"], report["written"]) == (30, 50)
    assert_stored(run, database, texts, vectors)


def test_single_differing_vectors_are_left_out(run, taken, refused, database, chunks, texts, vectors, tmp_path):
    spoilt = vectors.copy()
    spoilt[[2, 40]] = other_model(vectors[[2, 40]])
    path = write_parquet(tmp_path / "v.parquet", chunks, spoilt)
    options = ("parquet", path, "--vector", "vec", "--sample", 80)
    assert "2 of 80 vectors are not what" in refused(*options)
    report = taken(*options, "--drop-differing")
    assert (sorted(report["differing"]), report["written"]) == (sorted([chunks[2], chunks[40]]), 78)
    assert json.loads(run("embed", "--json", "--no-index")[1])["embedded"] == 2


def test_half_precision_and_as_text(taken, run, database, vectors, texts, chunks, tmp_path):
    path = write_parquet(tmp_path / "v.parquet", chunks, vectors, kind=pyarrow.list_(pyarrow.float32(), 768))
    code, out, _ = run("import", "parquet", path, "--vector", "vec")
    assert code == 0
    assert "80 vectors of column vec of 1 file taken over" in out
    assert "Next: embedding-assets embed" in out


def test_nothing_to_take_over(taken, database, vectors, tmp_path):
    insert_chunks(database, sentences(3, 500))
    path = write_parquet(tmp_path / "v.parquet", ["0" * 64], vectors[:1])
    report = taken("parquet", path, "--vector", "vec")
    assert (report["compared"], report["written"], report["refused"]) == (0, 0, {"unmatched_key": 1})


def test_vectors_of_two_columns_keep_apart(refused, beside, texts, vectors, chunks):
    beside.execute("CREATE TABLE o (chunk_hash text, vec vector(768))")
    beside.execute("INSERT INTO o VALUES (%s, %s)", [chunks[0], as_text(vectors[0])])
    assert "--column: say which column" in refused("column", "--from", "o")
    assert "--key is of another table" in refused("column", "--key", "id")
