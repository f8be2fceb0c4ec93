"""Files of text, read as documents."""

from __future__ import annotations

from pathlib import Path

from embedding_assets.documents.lines import MAX_LINE_CHARACTERS
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
