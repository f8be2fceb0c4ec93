"""A document is known by its collection and its path in there, wherever the folder is."""

import os
import shutil

import pytest

from embedding_assets.documents.roots import collections_inside, find_roots
from embedding_assets.errors import DocumentError
from embedding_assets_tests.support.loading import write


def test_a_link_that_is_switched_and_a_copy_elsewhere_change_nothing(load, tmp_path):
    for release in ("1", "2"):
        write(tmp_path / release, a="# A\n\nsame text", b="other text")
    current = tmp_path / "current"
    current.symlink_to("1")
    assert (load(current).new, load.origins()) == (2, ["current/a.md", "current/b.md"])
    load.embed()
    current.unlink()
    current.symlink_to("2")
    again = load(current)
    assert (again.unchanged, again.added, again.removed, again.gone) == (2, 0, 0, 0)

    shutil.copytree(tmp_path / "2", tmp_path / "mnt" / "current")
    elsewhere = load(tmp_path / "mnt" / "current")
    assert (elsewhere.unchanged, elsewhere.added, elsewhere.removed) == (2, 0, 0)
    assert load.pending() == []
    assert len(load.rows()) == 2


def test_a_folder_that_was_moved_and_edited_is_recognised_by_what_stayed(load, tmp_path):
    write(tmp_path / "a/docs", one="one", two="two", three="three")
    load(tmp_path / "a/docs")
    moved = write(tmp_path / "b/docs", one="one", two="two", three="edited", four="four")
    report = load(moved)
    assert (report.unchanged, report.changed, report.new, report.gone) == (2, 1, 1, 0)


def test_another_folder_of_the_same_name_is_refused_until_it_has_a_name(load, tmp_path):
    write(tmp_path / "a/docs", README="about a", guide="guide of a")
    load(tmp_path / "a/docs")
    other = write(tmp_path / "b/docs", README="about b", guide="guide of b")
    with pytest.raises(DocumentError, match=r"holds other documents.*--collection NAME.*--collection docs"):
        load(other)
    assert load.origins() == ["docs/README.md", "docs/guide.md"]
    assert load(other, collection="docs-b").new == 2
    # Known by its place from now on.
    assert load(other).unchanged == 2
    assert len(load.origins()) == 4
    assert load(tmp_path / "a/docs").unchanged == 2


def test_a_name_that_is_given_says_that_a_folder_was_moved(load, tmp_path):
    write(tmp_path / "a/docs", one="one", two="two")
    load(tmp_path / "a/docs")
    other = write(tmp_path / "b/docs", one="all", two="new")
    assert load(other, collection="docs").changed == 2
    assert load.rows() == ["all", "new"]


def test_two_folders_of_one_name_in_one_call(load, tmp_path):
    one, other = write(tmp_path / "a/docs", a="a"), write(tmp_path / "b/docs", b="b")
    with pytest.raises(DocumentError, match="would both be the collection docs; load them one by one"):
        load(one, other)
    assert load.origins() == []


def test_files_and_folders_in_a_collection_are_called_as_with_all_of_it(load, tmp_path, monkeypatch):
    docs = write(tmp_path / "docs", a="text a")
    write(docs / "sub", b="text b")
    assert load(docs / "a.md").new == 1
    assert load(docs).new == 1
    monkeypatch.chdir(docs)
    for path in (docs, ".", "a.md", "./a.md", "sub", "sub/b.md", "../docs", docs / "sub" / ".." / "a.md"):
        report = load(path)
        assert (report.new, report.added, report.removed, report.gone) == (0, 0, 0, 0), path
    assert (load(docs, docs / "a.md", docs / "sub").documents, load.rejections) == (2, [])
    assert load.origins() == ["docs/a.md", "docs/sub/b.md"]
    assert load.rows("document_metadata ->> 'source'") == ["docs/a.md", "docs/sub/b.md"]


def test_a_part_of_a_collection_says_nothing_about_the_rest(load, tmp_path):
    docs = write(tmp_path / "docs", a="text a", b="text b")
    sub = write(docs / "sub", c="text c", d="text d")
    load(docs)
    (docs / "a.md").unlink()
    (sub / "c.md").unlink()
    assert load(sub).gone == 1
    assert load(docs).gone == 2


def test_a_collection_from_a_folder_inside_is_named(load, tmp_path):
    docs = write(tmp_path / "docs", a="text a")
    write(docs / "sub", b="text b")
    load(docs / "sub")
    roots = find_roots(load.database, [str(docs)], None)
    assert collections_inside(load.database, roots) == ["sub"]
    assert collections_inside(load.database, find_roots(load.database, [str(docs / "sub")], None)) == []
    load.embed()
    assert load(docs).reused == 1


@pytest.mark.parametrize("path", ["", "  "])
def test_an_empty_path_is_no_folder(load, path):
    with pytest.raises(DocumentError, match="a path is empty, as of a variable that is not set"):
        load(path)


def test_paths_that_lead_nowhere_are_one_clear_line(load, tmp_path):
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "dangling").symlink_to("nothing")
    os.mkfifo(tmp_path / "pipe.md")
    reasons = {
        "pipe.md": "is a pipe, socket or device", "circle": "cannot be read: Too many levels",
        "dangling": "does not exist", "missing.md": "does not exist", "nul\0": "is not a path",
    }  # fmt: skip
    for path, reason in reasons.items():
        with pytest.raises(DocumentError, match=reason):
            load(f"{tmp_path}/{path}")


@pytest.mark.parametrize("name", ["a/b", "", " x", "x\x1b[2J", "y" * 201])
def test_names_that_no_collection_can_have(load, tmp_path, name):
    write(tmp_path / "docs", a="text")
    with pytest.raises(DocumentError, match="--collection"):
        load(tmp_path / "docs", collection=name)


def test_the_root_of_all_folders_needs_a_name(load):
    with pytest.raises(DocumentError, match="give one with --collection"):
        load("/")


def test_a_source_keeps_its_name(load, articles, tmp_path):
    from embedding_assets_tests.support.syncing import add

    add(load.database)
    with pytest.raises(DocumentError, match=r"shop\.articles is a source"):
        load(write(tmp_path / "shop.articles", a="text"))


def test_a_file_of_a_kind_that_is_not_read_is_an_error_before_anything_is_loaded(load, tmp_path):
    docs = write(tmp_path / "docs", a="text")
    (docs / "image.png").write_bytes(b"x")
    with pytest.raises(DocumentError, match=r"image\.png is of a kind that is not read"):
        load(docs / "a.md", docs / "image.png")
    assert load.origins() == []
