"""Folders that are loaded again after their files were edited, renamed, deleted, cut off or emptied."""

import json
import os
from pathlib import Path

import pytest

from embedding_assets.documents import file_loading, file_reading, found_file
from embedding_assets.documents.formats.options import ReadOptions
from embedding_assets_tests.support.loading import Loader, write


def rows_file(path: Path, numbers: range, *more: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"id": number, "text": f"row {number}"}) for number in numbers]
    path.write_text("".join(f"{line}\n" for line in [*lines, *more]))
    return path


def test_what_is_new_changed_unchanged_and_gone_is_counted(load, tmp_path):
    docs = write(tmp_path / "docs", a="a", b="b", c="c")
    first = load(docs)
    assert (first.documents, first.new, first.added) == (3, 3, 3)
    write(docs, b="changed", d="d")
    (docs / "c.md").unlink()
    report = load(docs)
    counts = (report.documents, report.new, report.changed, report.unchanged, report.gone, report.pruned)
    assert counts == (3, 1, 1, 1, 1, 0)
    assert load.rows() == ["a", "changed", "c", "d"]


def test_what_is_gone_is_removed_when_asked(load, tmp_path):
    docs = write(tmp_path / "docs", **{f"n{number}": f"text {number}" for number in range(10)})
    load(docs)
    (docs / "n0.md").unlink()
    (docs / "n1.md").unlink()
    report = load(docs, prune=True)
    assert (report.gone, report.pruned, report.removed, report.prune_refused) == (2, 2, 2, False)
    assert len(load.origins()) == len(load.rows()) == 8
    assert load(docs).gone == 0


def test_more_than_a_fifth_is_removed_only_when_that_is_said(load, tmp_path):
    docs = write(tmp_path / "docs", **{f"n{number}": f"text {number}" for number in range(40)})
    load(docs)
    for number in range(20):
        (docs / f"n{number}.md").unlink()
    report = load(docs, prune=True)
    assert (report.gone, report.pruned, report.removed, report.prune_refused) == (20, 0, 0, True)
    assert len(load.rows()) == 40
    report = load(docs, prune=True, yes=True)
    assert (report.pruned, len(load.rows())) == (20, 20)


def test_a_few_small_documents_are_removed_unasked(load, tmp_path):
    docs = write(tmp_path / "docs", **{f"n{number}": f"text {number}" for number in range(4)})
    load(docs)
    (docs / "n0.md").unlink()
    report = load(docs, prune=True)
    assert (report.pruned, report.prune_refused, len(load.rows())) == (1, False, 3)


def test_a_large_document_that_is_gone_is_asked_about_in_a_small_collection_too(load, tmp_path):
    docs = write(tmp_path / "docs", small="text")
    book = rows_file(docs / "book.jsonl", range(100))
    load(docs)
    book.unlink()
    assert load(docs, prune=True).prune_refused
    assert len(load.rows()) == 101


def test_an_empty_mount_removes_nothing(load, tmp_path):
    docs = write(tmp_path / "docs", a="a", b="b")
    load(docs)
    for file in docs.iterdir():
        file.unlink()
    report = load(docs, prune=True)
    assert (report.gone, report.prune_refused, report.rejected) == (2, True, 1)
    assert load.rows() == ["a", "b"]


def test_a_folder_that_cannot_be_listed_says_nothing_of_its_documents(load, tmp_path, monkeypatch):
    docs = write(tmp_path / "docs", a="a")
    write(docs / "closed", b="b")
    load(docs)
    listed = os.scandir

    def scandir(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setattr(os.path, "lexists", lambda path: "closed" not in str(path))
    report = load(docs, prune=True, yes=True)
    assert (report.gone, report.unchanged, load.rejections) == (
        0, 1, ["docs/closed: cannot be read: Permission denied"],
    )  # fmt: skip
    assert load.rows() == ["a", "b"]


def test_a_renamed_file_keeps_its_vectors_and_is_there_once(load, tmp_path):
    docs = write(tmp_path / "docs", old="# T\n\nsome text", b="b")
    load(docs)
    load.embed()
    (docs / "old.md").rename(docs / "new.md")
    report = load(docs)
    assert (report.renamed, report.gone, report.new, report.reused) == (1, 0, 0, 1)
    assert load.origins() == ["docs/b.md", "docs/new.md"]
    assert load.pending() == []
    assert load.embed() == []


def test_a_copy_that_is_deleted_was_not_renamed(load, tmp_path):
    docs = write(tmp_path / "docs", **dict.fromkeys("abcde", "# T\n\nthe same licence"))
    load(docs)
    (docs / "a.md").unlink()
    report = load(docs)
    assert (report.renamed, report.gone, report.unchanged, report.new) == (0, 1, 4, 0)
    (docs / "b.md").unlink()
    (docs / "c.md").rename(docs / "f.md")
    report = load(docs, prune=True)
    assert (report.renamed, report.gone, report.pruned, report.new) == (1, 2, 2, 0)
    assert load.origins() == ["docs/d.md", "docs/e.md", "docs/f.md"]


def test_a_renamed_file_whose_name_heads_its_chunks_says_something_else_now(load, tmp_path):
    docs = write(tmp_path / "docs", old="some text")
    load(docs)
    load.embed()
    (docs / "old.md").rename(docs / "new.md")
    report = load(docs)
    assert (report.renamed, report.reused, load.origins(), load.rows()) == (1, 0, ["docs/new.md"], ["some text"])
    assert load.embed() == ["new\nsome text"]


def test_a_renamed_folder_keeps_its_vectors(load, tmp_path):
    docs = write(tmp_path / "docs", a="a")
    write(docs / "old", **{f"n{number}": f"text {number}" for number in range(20)})
    load(docs)
    load.embed()
    (docs / "old").rename(docs / "new")
    report = load(docs)
    assert (report.renamed, report.gone, report.reused, load.pending()) == (20, 0, 20, [])
    assert len(load.rows()) == 21


@pytest.mark.parametrize("giver", ["a", "z"])
def test_a_section_that_moves_to_another_file_takes_its_vector_with_it(load, tmp_path, monkeypatch, giver):
    monkeypatch.setattr(file_loading, "_BATCH_FILES", 1)
    from embedding_assets.documents import writing

    monkeypatch.setattr(writing, "_BATCH_CHUNKS", 1)
    section = "## Keys\n\nHow keys are rotated.\n\n"
    docs = write(tmp_path / "docs", **{giver: f"# Guide\n\nintro\n\n{section}", "m": "# Guide\n\nother\n\n"})
    load(docs)
    load.embed()
    write(docs, **{giver: "# Guide\n\nintro\n\n", "m": f"# Guide\n\nother\n\n{section}"})
    report = load(docs)
    assert (report.added, report.removed, report.reused, load.pending()) == (1, 1, 1, [])
    assert load.embed() == []


def test_the_same_text_in_several_files_is_embedded_once(load, tmp_path):
    docs = write(tmp_path / "docs", **{f"n{number}": "# License\n\nThe same licence." for number in range(5)})
    assert load(docs).added == 5
    assert load.embed() == ["License\nThe same licence."]
    assert load.pending() == []
    write(docs, another="# License\n\nThe same licence.")
    assert load(docs).reused == 1
    assert load.embed() == []


def test_rows_that_differ_only_in_metadata_are_all_there(load, tmp_path):
    file = tmp_path / "faq.csv"
    file.write_text("product,text\nPump A,Yes.\nPump B,Yes.\nPump B,Yes.\n")
    assert load(file).added == 2
    assert sorted(load.rows("document_metadata ->> 'product'")) == ["Pump A", "Pump B"]
    assert len(load.embed()) == 1
    assert load.pending() == []
    file.write_text("product,text\nPump C,Yes.\nPump B,Yes.\n")
    report = load(file)
    assert (report.added, report.removed, report.reused) == (1, 1, 1)
    assert sorted(load.rows("document_metadata ->> 'product'")) == ["Pump B", "Pump C"]


def test_nothing_is_removed_for_a_file_with_rejected_rows(load, tmp_path):
    file = rows_file(tmp_path / "rows.jsonl", range(20))
    load(file)
    load.embed()
    rows_file(file, range(10), '{"id": 10, "te')
    report = load(file)
    assert (report.added, report.removed, report.rejected, report.kept) == (0, 0, 1, 10)
    assert (len(load.rows()), load.pending()) == (20, [])
    report = load(file)
    assert (report.unchanged, report.changed, report.rejected, report.rejected_before) == (1, 0, 0, 1)
    rows_file(file, range(5))
    report = load(file)
    assert (report.removed, report.rejected, report.kept) == (15, 0, 0)
    assert load(file).unchanged == 1


def test_good_rows_beside_bad_ones_are_loaded(load, tmp_path):
    file = rows_file(tmp_path / "rows.jsonl", range(2), "not json")
    report = load(file)
    assert (report.documents, report.added, report.rejected, load.rejections[0].partition(":")[0]) == (
        1, 2, 1, f"{tmp_path.name}/rows.jsonl",
    )  # fmt: skip
    rows_file(file, range(3), "not json")
    assert load(file).added == 1


def test_a_parquet_file_that_is_damaged_behind_some_rows_loses_nothing(load, tmp_path):
    import pyarrow
    import pyarrow.parquet

    file = tmp_path / "rows.parquet"
    table = pyarrow.table({"text": [f"row {number} " + "x" * 50 for number in range(2000)]})
    pyarrow.parquet.write_table(table, file, row_group_size=500, compression="none", use_dictionary=False)
    load(file)
    data = bytearray(file.read_bytes())
    middle = data.index(b"row 1600 ") - 40
    data[middle - 400 : middle] = b"\xff" * 400
    file.write_bytes(bytes(data))
    report = load(file)
    assert (report.removed, report.rejected >= 1, len(load.rows())) == (0, True, 2000)


def test_an_emptied_file_loses_its_chunks(load, tmp_path):
    docs = write(tmp_path / "docs", a="# S\n\nold", b="b", c="c")
    load(docs)
    (docs / "a.md").write_text("")
    (docs / "b.md").write_text(" \n")
    report = load(docs)
    assert (report.changed, report.removed, load.rejections, load.rows()) == (2, 2, [], ["c"])
    assert load(docs).unchanged == 3
    write(docs, a="back")
    assert load(docs).added == 1


@pytest.mark.parametrize("text", ["", " \n", "---\n", "<!-- later -->\n"])
def test_a_new_file_with_nothing_in_it_is_counted_and_is_no_document(load, tmp_path, text):
    docs = write(tmp_path / "docs", a="a", z=text)
    (docs / "rows.jsonl").write_text("")
    for _ in range(2):
        report = load(docs)
        assert (report.documents, report.empty, report.rejected, load.rejections) == (1, 2, 0, [])
        assert load.origins() == ["docs/a.md"]
    write(docs, z="z")
    assert (load(docs).new, load.rows()) == (1, ["a", "z"])


def test_a_file_that_is_rejected_as_a_whole_is_no_document(load, tmp_path):
    docs = write(tmp_path / "docs", a="a")
    (docs / "z.jsonl").write_text("not json\nnor this\n")
    report = load(docs)
    assert (report.documents, report.rejected, report.rejected_files, load.origins()) == (1, 2, 1, ["docs/a.md"])
    rows_file(docs / "z.jsonl", range(2))
    load(docs)
    (docs / "z.jsonl").write_text("<html>")
    report = load(docs)
    # What it had stays, and it is read again.
    assert (report.documents, report.rejected_files, report.kept, len(load.rows())) == (1, 1, 2, 3)
    assert load(docs).rejected_files == 1


@pytest.mark.parametrize("left", [0, 500])
def test_a_large_file_that_was_cut_off_keeps_its_chunks_until_that_is_confirmed(load, tmp_path, left):
    file = rows_file(tmp_path / "rows.jsonl", range(1000))
    write(tmp_path, other="text")
    load(tmp_path)
    rows_file(file, range(left))
    report = load(tmp_path)
    assert (report.removed, report.shrunk, report.kept) == (0, [f"{tmp_path.name}/rows.jsonl"], 1000 - left)
    assert load(tmp_path).shrunk == report.shrunk
    report = load(tmp_path, yes=True)
    assert (report.removed, report.shrunk) == (1000 - left, [])
    assert load(tmp_path).unchanged == 2


def test_larger_chunks_of_the_same_file_need_no_confirmation(load, tmp_path):
    file = tmp_path / "long.txt"
    file.write_text("\n\n".join(f"Paragraph {number} says something about it." for number in range(1600)))
    before = load(file).added
    small = load.splitter
    load.splitter = type(small)(small._tokenizer, chunk_tokens=256, chunk_overlap=0)
    report = load(file)
    assert (report.shrunk, report.removed, report.added < before - 100) == ([], before, True)


def test_a_file_that_changes_while_it_is_read_is_read_again(load, tmp_path, monkeypatch):
    file = write(tmp_path / "docs", a="first") / "a.md"
    read, versions = file_reading.read_file, ["second", "third"]

    def changing(path, source, options):
        yield from read(path, source, options)
        if versions:
            file.write_text(versions.pop(0))

    monkeypatch.setattr(file_reading, "read_file", changing)
    report = load(file)
    assert (load.rows(), report.changing) == (["third"], [])
    assert load(file).unchanged == 1


def test_a_file_that_never_rests_is_left_for_the_next_load(load, tmp_path, monkeypatch):
    file = write(tmp_path / "docs", a="first", b="b") / "a.md"
    load(file.parent)
    file.write_text("0")
    with monkeypatch.context() as patch:
        read = file_reading.read_file

        def changing(path, source, options):
            yield from read(path, source, options)
            path.write_text(f"{path.read_text()}, and more")

        patch.setattr(file_reading, "read_file", changing)
        report = load(file)
        assert (report.changing, report.removed) == (["docs/a.md"], 0)
        assert "first" in load.rows()
    assert load(file).changed == 1
    assert load.rows() == [file.read_text(), "b"]


def test_a_file_that_vanishes_before_it_is_read_is_named(load, tmp_path, monkeypatch):
    docs = write(tmp_path / "docs", a="a", b="b")
    state = found_file.file_state

    def vanishing(path, mark=None):
        if path.name == "a.md":
            path.unlink()
        return state(path)

    monkeypatch.setattr(found_file, "file_state", vanishing)
    report = load(docs)
    assert (report.documents, load.rejections) == (1, ["docs/a.md: cannot be read: No such file or directory"])


class Killed(BaseException):
    pass


@pytest.mark.parametrize("stores", [0, 1, 3])
def test_killed_half_way_it_goes_on_and_nothing_is_without_a_record(load, tmp_path, monkeypatch, stores):
    from embedding_assets.documents import writing

    monkeypatch.setattr(writing, "_BATCH_CHUNKS", 5)
    folder = rows_file(tmp_path / "docs/many.jsonl", range(23)).parent
    write(folder, **{f"small{number}": f"small {number}" for number in range(9)})
    store, left = writing.store_documents, [stores]

    def kill(*arguments, **options):
        if left[0] == 0:
            raise Killed
        left[0] -= 1
        return store(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(writing, "store_documents", kill)
        with pytest.raises(Killed):
            load(folder)
    assert set(load.rows("document_metadata ->> 'origin'")) <= set(load.origins())
    report = load(folder)
    assert (report.documents, len(load.rows())) == (10, 32)
    assert load(folder).unchanged == 10


def test_a_large_file_that_is_gone_after_it_was_loaded_in_part_is_gone(load, tmp_path, monkeypatch):
    from embedding_assets.documents import writing

    monkeypatch.setattr(writing, "_BATCH_CHUNKS", 5)
    file = rows_file(tmp_path / "docs/many.jsonl", range(23))
    remove = writing.ChunkWriter.add

    def kill(writer, chunks, completed=None):
        if completed is not None:
            raise Killed
        remove(writer, chunks, completed)

    with monkeypatch.context() as patch:
        patch.setattr(writing.ChunkWriter, "add", kill)
        with pytest.raises(Killed):
            load(file.parent)
    assert (len(load.rows()), load.origins()) == (23, ["docs/many.jsonl"])
    file.unlink()
    assert load(file.parent, prune=True, yes=True).pruned == 1
    assert load.rows() == []


def test_other_options_read_a_file_again(load, tmp_path):
    file = tmp_path / "faq.csv"
    file.write_text("Question,Answer\nWhy?,Because.\n")
    assert load(file, read=ReadOptions(text_column="Question")).added == 1
    report = load(file, read=ReadOptions(text_column="Answer"))
    assert (report.added, report.removed) == (1, 1)


def test_what_earlier_versions_called_by_its_absolute_path_is_taken_over(load: Loader, tmp_path):
    docs = write(tmp_path / "docs", a="# A\n\ntext a", b="text b", gone="text gone")
    earlier(load, docs)
    load.embed()
    (docs / "gone.md").unlink()
    write(docs, new="new text")
    report = load(docs)
    counts = (report.taken_over, report.new, report.gone, report.reused, load.pending())
    assert counts == (2, 1, 1, 2, ["new text"])
    assert load.origins() == [f"{docs}/gone.md", "docs/a.md", "docs/b.md", "docs/new.md"]
    assert load(docs, prune=True, yes=True).pruned == 1
    assert load(docs).unchanged == 3


def test_a_single_file_of_earlier_versions_is_taken_over(load: Loader, tmp_path):
    docs = write(tmp_path / "docs", a="# A\n\ntext a", b="text b")
    earlier(load, docs)
    load.embed()
    assert load(docs / "a.md").taken_over == 1
    assert load.origins() == [f"{docs}/b.md", "docs/a.md"]
    assert load.pending() == []


def earlier(load: Loader, folder: Path) -> None:
    """Load a folder as earlier versions did."""
    from embedding_assets.documents.formats.reading import read_file
    from embedding_assets.documents.loading import load_documents

    found = (one for path in sorted(folder.iterdir()) for one in read_file(path, path.as_posix(), ReadOptions()))
    load_documents(load.database, found, load.splitter)


def test_two_loads_at_once_do_not_disturb_each_other(load, tmp_path):
    from embedding_assets_tests.support.tables import in_threads

    docs = write(tmp_path / "docs", **{f"n{number}": f"text {number}" for number in range(50)})
    reports = in_threads(lambda: load(docs), lambda: load(docs))
    assert sorted((report.new, report.unchanged) for report in reports) == [(0, 50), (50, 0)]
    assert len(load.rows()) == 50
