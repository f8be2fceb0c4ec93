from __future__ import annotations

import os
from pathlib import Path

import pytest

from embedding_assets.documents.files import read_documents
from embedding_assets.documents.lines import MAX_LINE_CHARACTERS
from embedding_assets.documents.rejection import Rejection
from embedding_assets.errors import DocumentError
from embedding_assets_tests.support.reading import read, written


def test_text_and_markdown(tmp_path: Path) -> None:
    plain = written(tmp_path / "notes.txt", b"\xef\xbb\xbfone\r\ntwo\rthree\n")
    marked = written(tmp_path / "guide.md", "intro\n\n# The *first* `heading`\n\nbody\n")
    bare = written(tmp_path / "bare.markdown", "no heading\n")

    documents, rejections = read(plain, marked, bare)

    assert not rejections
    assert [(one.text, one.markdown, one.metadata.title) for one in documents] == [
        ("one\ntwo\nthree\n", False, "notes"),
        ("intro\n\n# The *first* `heading`\n\nbody\n", True, "The first heading"),
        ("no heading\n", True, "bare"),
    ]
    assert [one.metadata.source for one in documents] == [path.as_posix() for path in (plain, marked, bare)]
    assert all(one.file_digest == "" and one.chunk_hash is None for one in documents)


def test_a_line_of_wide_characters_is_measured_in_characters(tmp_path: Path) -> None:
    fits = written(tmp_path / "a.txt", "語" * MAX_LINE_CHARACTERS + "\n")
    too_long = written(tmp_path / "b.txt", "語" * (MAX_LINE_CHARACTERS + 1) + "\n")
    documents, rejections = read(fits, too_long)
    assert [one.metadata.title for one in documents] == ["a"]
    assert [str(one) for one in rejections] == [f"{too_long.as_posix()}:1: is longer than 1,000,000 characters"]


def test_folders_are_walked_in_order_without_what_is_hidden(tmp_path: Path) -> None:
    for name in ("b/2.md", "b/1.TXT", "a.rst", "c.text", ".hidden.md", ".git/x.md", "image.png", "b/.x/y.md"):
        written(tmp_path / name, name)
    (tmp_path / "loop").symlink_to(tmp_path)

    documents, rejections = read(tmp_path, tmp_path / "a.rst")

    assert not rejections
    assert [one.text for one in documents] == ["a.rst", "b/1.TXT", "b/2.md", "c.text"]


def test_a_folder_with_nothing_to_read_says_so(tmp_path: Path) -> None:
    written(tmp_path / "image.png", b"x")
    documents, (rejection,) = read(tmp_path)
    assert not documents
    assert rejection.reason.startswith("holds no file ending in .md, .markdown")


def test_a_path_that_cannot_be_meant_is_an_error_before_anything_is_read(tmp_path: Path) -> None:
    good = written(tmp_path / "a.md", "text")
    with pytest.raises(
        DocumentError, match=r"missing\.md does not exist; accepted are folders and files ending in \.md"
    ):
        read_documents([good, tmp_path / "missing.md"], text_column=None, on_reject=print)
    with pytest.raises(DocumentError, match=r"image\.png is of an unknown kind; accepted are .*\.parquet"):
        read_documents([good, written(tmp_path / "image.png", b"x")], text_column=None, on_reject=print)


def test_a_file_name_that_is_not_utf8_is_rejected_printably(tmp_path: Path) -> None:
    try:
        written(tmp_path / os.fsdecode(b"\xff.md"), "text")
    except OSError:
        pytest.skip("this file system keeps names in UTF-8")
    documents, (rejection,) = read(tmp_path)
    assert not documents
    assert str(rejection).encode().endswith("�.md: has a name that is not valid UTF-8".encode())


def test_what_cannot_be_opened_is_rejected(tmp_path: Path) -> None:
    # A folder removed while its parent is walked, a file removed before it is read: permissions do not stop root.
    first = written(tmp_path / "a/1.md", "text")
    second = written(tmp_path / "a/2.md", "text")
    third = written(tmp_path / "b/3.md", "text")
    rejections: list[Rejection] = []
    documents = read_documents([first, second, third.parent], text_column=None, on_reject=rejections.append)
    next(documents)
    second.unlink()
    third.unlink()
    third.parent.rmdir()
    third.parent.symlink_to(third.parent)

    assert list(documents) == []
    assert [one.source for one in rejections][:1] == [second.as_posix()]
    assert rejections[0].reason == "cannot be read: No such file or directory"
