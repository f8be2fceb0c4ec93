"""Documents into the table, again and again."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedding_assets.config import Settings
from embedding_assets.documents import writing
from embedding_assets.documents.document import Document
from embedding_assets.documents.loading import LoadReport, configured_splitter, load_documents
from embedding_assets.documents.splitting import Splitter
from embedding_assets.models import DocumentMetadata
from embedding_assets.pipeline.generator import EmbeddingGenerator
from embedding_assets.postgres.connection import Database
from embedding_assets_tests.support.fakes import FakeProvider
from embedding_assets_tests.support.reading import read


@pytest.fixture
def splitter(settings: Settings, database: Database) -> Splitter:
    return configured_splitter(settings.with_embedding(chunk_tokens=32), database)


def documents(*paths: Path) -> Iterator[Document]:
    found, rejections = read(*paths)
    assert rejections == []
    yield from found


def rows(database: Database) -> dict[str, tuple[str, bool, str, int, int]]:
    """Hash → text, whether it is embedded, version of the row, position, size of the document."""
    query = """
        SELECT chunk_hash, chunk_text, embedding IS NOT NULL, xmin::text, chunk_index, total_chunks FROM knowledge_base
    """
    return {row[0]: row[1:] for row in database.run(lambda connection: connection.execute(query).fetchall())}


def texts(database: Database) -> list[str]:
    return sorted(row[0] for row in rows(database).values())


def embed(settings: Settings, database: Database) -> int:
    return EmbeddingGenerator(settings, database=database, provider=FakeProvider()).generate_embeddings_batch().embedded


def sections(*names: str) -> str:
    return "# Title\n\n" + "".join(f"## {name}\n\nAbout {name} there is one thing to say.\n\n" for name in names)


def write_rows(path: Path, *values: str) -> None:
    path.write_text("".join(json.dumps({"text": value}) + "\n" for value in values))


def test_a_first_load(tmp_path: Path, database: Database, splitter: Splitter):
    file = tmp_path / "a.md"
    file.write_text(sections("one", "two", "three"))
    progress: list[int] = []
    report = load_documents(database, documents(file), splitter, on_progress=progress.append)
    assert report == LoadReport(documents=1, new=1, chunks=3, added=3)
    assert sum(progress) == 3
    assert [row[3:] for row in sorted(rows(database).values(), key=lambda row: row[3])] == [(0, 3), (1, 3), (2, 3)]


def test_the_same_file_again_adds_and_touches_nothing(tmp_path: Path, database: Database, splitter: Splitter):
    for name in ("a.md", "b.txt"):
        (tmp_path / name).write_text(sections("one", "two"))
    write_rows(tmp_path / "c.jsonl", "x", "y")
    first = load_documents(database, documents(tmp_path), splitter)
    before = rows(database)
    assert first.documents == 3
    assert load_documents(database, documents(tmp_path), splitter) == LoadReport(documents=3, unchanged=3)
    assert rows(database) == before


def test_a_changed_file_keeps_what_did_not_change(
    tmp_path: Path, settings: Settings, database: Database, splitter: Splitter
):
    file = tmp_path / "a.md"
    file.write_text(sections("one", "two", "three"))
    load_documents(database, documents(file), splitter)
    embed(settings, database)
    before = rows(database)

    file.write_text(sections("zero", "one", "three", "four"))
    report = load_documents(database, documents(file), splitter)
    assert (report.added, report.removed, report.chunks, report.unchanged) == (2, 1, 4, 0)
    after = rows(database)
    kept = before.keys() & after.keys()
    assert len(kept) == 2
    assert all(after[chunk_hash][1] for chunk_hash in kept)
    assert {row[0] for chunk_hash, row in after.items() if not row[1]} == {
        after[chunk_hash][0] for chunk_hash in after.keys() - kept
    }
    assert sorted(row[3] for row in after.values()) == [0, 1, 2, 3]
    assert {row[4] for row in after.values()} == {4}
    assert embed(settings, database) == 2


def test_a_row_inserted_at_the_top_leaves_the_others(
    tmp_path: Path, settings: Settings, database: Database, splitter: Splitter
):
    file = tmp_path / "rows.jsonl"
    write_rows(file, "alpha", "beta", "gamma")
    load_documents(database, documents(file), splitter)
    embed(settings, database)
    write_rows(file, "new", "alpha", "beta", "gamma")
    report = load_documents(database, documents(file), splitter)
    assert (report.added, report.removed) == (1, 0)
    assert [row[0] for row in rows(database).values() if not row[1]] == ["new"]


def test_a_row_that_was_removed_disappears(tmp_path: Path, database: Database, splitter: Splitter):
    file = tmp_path / "rows.jsonl"
    write_rows(file, "alpha", "beta", "gamma")
    load_documents(database, documents(file), splitter)
    write_rows(file, "alpha", "gamma")
    report = load_documents(database, documents(file), splitter)
    assert (report.added, report.removed) == (0, 1)
    assert texts(database) == ["alpha", "gamma"]


def test_a_chunk_that_was_deleted_comes_back(tmp_path: Path, database: Database, splitter: Splitter):
    file = tmp_path / "rows.jsonl"
    write_rows(file, "alpha", "beta")
    load_documents(database, documents(file), splitter)
    database.run(lambda connection: connection.execute("DELETE FROM knowledge_base WHERE chunk_text = 'beta'"))
    assert load_documents(database, documents(file), splitter).added == 1
    assert texts(database) == ["alpha", "beta"]


def test_other_documents_are_left_alone(tmp_path: Path, database: Database, splitter: Splitter):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(f"text of {name}")
    load_documents(database, documents(tmp_path), splitter)
    (tmp_path / "a.txt").write_text("another text")
    load_documents(database, documents(tmp_path / "a.txt"), splitter)
    assert texts(database) == ["another text", "text of b.txt"]


class Killed(BaseException):
    pass


@pytest.mark.parametrize("stores", [0, 1, 3])
def test_killed_half_way_and_loaded_again_it_is_complete(
    stores: int, tmp_path: Path, database: Database, splitter: Splitter, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(writing, "_BATCH_CHUNKS", 5)
    write_rows(tmp_path / "many.jsonl", *(f"row {number}" for number in range(23)))
    for number in range(9):
        (tmp_path / f"small {number}.txt").write_text(f"small {number}")
    left = [stores]

    def kill(_: int) -> None:
        if left[0] == 0:
            raise Killed
        left[0] -= 1

    with pytest.raises(Killed):
        load_documents(database, documents(tmp_path), splitter, on_progress=kill)
    assert 5 <= len(texts(database)) < 32
    report = load_documents(database, documents(tmp_path), splitter)
    assert report.documents == 10
    assert texts(database) == sorted([*(f"row {n}" for n in range(23)), *(f"small {n}" for n in range(9))])
    assert load_documents(database, documents(tmp_path), splitter).unchanged == 10


def test_many_unchanged_and_empty_documents(database: Database, splitter: Splitter):
    assert load_documents(database, [], splitter) == LoadReport()
    blank = Document(DocumentMetadata(source="blank"), "# Only a heading\n", markdown=True)
    assert load_documents(database, [blank], splitter).documents == 1


def test_chunks_are_never_longer_than_the_model_reads(settings: Settings, database: Database):
    long = Document(DocumentMetadata(source="long"), "a word and another " * 2000, markdown=False)
    splitter = configured_splitter(settings.with_embedding(chunk_tokens=1000), database)
    counts = [chunk.token_count for chunk in splitter.split(long)]
    assert 200 < max(counts) <= 256
    short = configured_splitter(settings.with_embedding(chunk_tokens=40, chunk_overlap=8), database)
    assert max(chunk.token_count for chunk in short.split(long)) <= 40
