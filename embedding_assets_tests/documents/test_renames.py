"""Files that were renamed, copied, or whose sections moved to another: their vectors are kept."""

import pytest

from embedding_assets.documents import file_loading
from embedding_assets_tests.support.loading import write


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


def stop(*_):
    raise KeyboardInterrupt


def test_a_rename_that_a_stopped_load_has_seen_is_one(load, tmp_path, monkeypatch):
    docs = write(tmp_path / "docs", old="# T\n\nsome text", b="b")
    load(docs)
    (docs / "old.md").rename(docs / "new.md")
    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(file_loading, "find_gone", stop)
            with pytest.raises(KeyboardInterrupt):
                load(docs)
    assert load.origins() == ["docs/b.md", "docs/new.md", "docs/old.md"]
    report = load(docs)
    assert (report.renamed, report.gone, report.unchanged) == (1, 0, 2)
    assert load.origins() == ["docs/b.md", "docs/new.md"]
    # A copy that was there when a load came to its end is no new name.
    write(docs, copy="# T\n\nsome text")
    load(docs)
    (docs / "new.md").unlink()
    assert (load(docs).renamed, load(docs).gone) == (0, 1)


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


@pytest.mark.parametrize("is_loaded_before", [False, True])
def test_a_copy_in_a_part_that_is_loaded_alone_and_deleted_was_not_renamed(load, tmp_path, is_loaded_before):
    docs = write(tmp_path / "docs", other="words")
    write(docs / "sub", kept="more words", **({"a": "# T\n\nthe same licence"} if is_loaded_before else {}))
    load(docs)
    write(docs / "sub", a="# T\n\nthe same licence", b="# T\n\nthe same licence")
    load(docs / "sub")
    (docs / "sub" / "a.md").unlink()
    for folder in (docs / "sub", docs):
        report = load(folder)
        assert (report.renamed, report.gone, report.removed) == (0, 1, 0)
    assert load.origins() == ["docs/other.md", "docs/sub/a.md", "docs/sub/b.md", "docs/sub/kept.md"]


def test_of_copies_that_a_stopped_load_has_seen_the_deleted_one_was_not_renamed(load, tmp_path, monkeypatch):
    docs = write(tmp_path / "docs", old="# T\n\nsome text")
    load(docs)
    write(docs, **dict.fromkeys("abc", "# T\n\nthe same licence"))
    with monkeypatch.context() as patch:
        patch.setattr(file_loading, "find_gone", stop)
        with pytest.raises(KeyboardInterrupt):
            load(docs)
    (docs / "a.md").unlink()
    (docs / "b.md").rename(docs / "d.md")
    report = load(docs)
    assert (report.renamed, report.gone) == (1, 1), "one of the two is the file that is new now"
    assert len(load.origins()) == 4


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
