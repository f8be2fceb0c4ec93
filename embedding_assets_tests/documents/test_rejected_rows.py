"""Files with rejected rows: what they had stays, they are not read again as they are, and a person can decide."""

import pytest

from embedding_assets.documents import file_reading, manner
from embedding_assets.documents.formats.options import ReadOptions
from embedding_assets_tests.documents.test_file_loading import rows_file
from embedding_assets_tests.support.loading import write


@pytest.fixture
def file(load, tmp_path):
    """A file of which half is gone, and which has a row that will never be one."""
    file = rows_file(tmp_path / "docs/rows.jsonl", range(20))
    load(file)
    load.embed()
    rows_file(file, range(10), "not json")
    return file


def test_what_else_left_the_file_is_removed_when_a_person_says_so(load, file):
    assert load(file).kept == 10
    report = load(file, accept_rejected=True)
    assert (report.removed, report.kept, report.rejected, report.changed, report.added) == (10, 0, 1, 1, 0)
    assert (len(load.rows()), load.pending()) == (10, [])
    report = load(file)
    assert (report.unchanged, report.rejected_before, report.rejected) == (1, 1, 0)
    assert load(file, accept_rejected=True).unchanged == 1
    # That was about the file as it was.
    rows_file(file, range(5), "not json")
    report = load(file)
    assert (report.removed, report.kept) == (0, 5)


def test_nothing_is_removed_of_what_was_not_read_at_all(load, file):
    file.write_text("<html>")
    report = load(file, accept_rejected=True)
    assert (report.removed, report.kept, report.rejected_files) == (0, 20, 1)


def test_much_of_a_file_still_needs_to_be_confirmed(load, tmp_path):
    file = rows_file(tmp_path / "docs/rows.jsonl", range(300))
    load(file)
    rows_file(file, range(100), "not json")
    report = load(file, accept_rejected=True)
    assert (report.removed, report.shrunk, report.rejected) == (0, ["docs/rows.jsonl"], 1)
    report = load(file, accept_rejected=True, yes=True)
    assert (report.removed, report.shrunk) == (200, [])


def test_it_is_not_read_again_as_it_is(load, file, monkeypatch):
    load(file)

    def read_again(*_):
        raise AssertionError

    with monkeypatch.context() as patch:
        patch.setattr(file_reading, "read_file", read_again)
        report = load(file)
    assert (report.unchanged, report.rejected_before, report.kept) == (1, 1, 0)


def test_it_is_read_again_where_it_is_read_otherwise_or_by_another_version(load, file, monkeypatch):
    load(file)
    assert load(file, read=ReadOptions(text_column="text")).rejected == 1
    assert load(file, read=ReadOptions(text_column="text")).rejected_before == 1
    monkeypatch.setattr(manner, "version", lambda _: "99")
    assert load(file, read=ReadOptions(text_column="text")).rejected == 1


def test_a_row_without_a_text_is_no_fault(load, tmp_path):
    file = tmp_path / "docs/rows.csv"
    file.parent.mkdir()
    file.write_text("id,text\n1,hello\n2,\n3,bye\n")
    report = load(file)
    assert (report.new, report.rejected, report.blank_rows, load.rejections) == (1, 0, 1, [])
    file.write_text("id,text\n1,hello\n2,\n")
    report = load(file)
    assert (report.removed, report.kept, report.blank_rows) == (1, 0, 1)
    assert load.rows() == ["hello"]
    assert load(file).unchanged == 1


def test_a_row_that_ends_before_its_text_is_one(load, tmp_path):
    file = tmp_path / "docs/rows.csv"
    file.parent.mkdir()
    file.write_text("id,text\n1,hello\n2\n")
    assert (load(file).rejected, load.rejections) == (1, ["docs/rows.csv:3: has an empty 'text'"])


def test_where_no_row_has_a_text_nothing_is_removed(load, tmp_path):
    file = tmp_path / "docs/rows.csv"
    file.parent.mkdir()
    file.write_text("id,text,note\n1,hello,\n2,bye,\n")
    load(file)
    report = load(file, read=ReadOptions(text_column="note"))
    assert (report.rejected_files, report.removed, sorted(load.rows())) == (1, 0, ["bye", "hello"])
    assert load.rejections == ["docs/rows.csv: has rows, but none with a text; --text-column names another"]


def test_a_file_that_lacks_chunks_is_read_again(load, file):
    load(file)
    load.database.run(lambda c: c.execute("DELETE FROM knowledge_base WHERE chunk_text = 'row 3'"))
    assert (load(file).added, load(file).unchanged) == (1, 1)


def test_a_folder_that_is_mostly_rejected_is_known_again_elsewhere(load, tmp_path):
    docs = write(tmp_path / "one/docs", a="a")
    for number in range(3):
        rows_file(docs / f"{number}.jsonl", range(2), "not json")
    load(docs)
    (tmp_path / "two").mkdir()
    report = load(docs.rename(tmp_path / "two/docs"))
    assert (report.unchanged, report.rejected_before, report.gone) == (4, 3, 0)
