"""What comes through a pipe."""

import gzip
import io

import pytest

from embedding_assets.documents.formats.options import ReadOptions
from embedding_assets.documents.standard_input import spooled_input
from embedding_assets.errors import DocumentError
from embedding_assets_tests.support.loading import write


def stream(content: bytes) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(content))


def spooled(content: bytes, name: str | None = None, kind: str | None = None):
    return spooled_input(stream(content), name, ReadOptions(format=kind))


ROWS = b'{"text": "one"}\n{"text": "two"}\n'


def test_it_is_a_file_of_its_format(load):
    with spooled(ROWS, kind="jsonl") as copy:
        assert load("-", standard_input=copy, read=ReadOptions(format="jsonl")).new == 1
    assert not copy.path.exists()
    assert (load.origins(), load.rows()) == (["stdin/stdin.jsonl"], ["one", "two"])
    with spooled(ROWS, kind="jsonl") as copy:
        assert load("-", standard_input=copy, read=ReadOptions(format="jsonl")).unchanged == 1


def test_it_has_the_name_and_the_collection_that_it_is_given(load):
    with spooled(b"# Guide\n\none", name="a/guide.md") as copy:
        load("-", standard_input=copy, collection="pipes")
    with spooled(gzip.compress(ROWS), name="rows.jsonl.gz") as copy:
        load("-", standard_input=copy, collection="pipes")
    assert load.origins() == ["pipes/a/guide.md", "pipes/rows.jsonl.gz"]
    assert load.rows() == ["one", "one", "two"]


def test_a_folder_does_not_lose_its_collection_to_it(load, tmp_path):
    docs = write(tmp_path / "docs", a="one")
    load(docs)
    with (
        spooled(b"two", name="b.md") as copy,
        pytest.raises(DocumentError, match="name another one for standard input"),
    ):
        load("-", standard_input=copy, collection="docs")
    assert load(docs).unchanged == 1


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (b"x", None, "--format jsonl"),
        (b"x", "guide", "say what standard input holds"),
        (b"x", "../guide.md", "is no name"),
        (b"x", "/guide.md", "is no name"),
        (b"x", "a\n.md", "is no name"),
        (b"", "guide.md", "standard input is empty; nothing was changed"),
    ],
)
def test_what_is_refused(content, name, message):
    with pytest.raises(DocumentError, match=message), spooled(content, name=name):
        pass


def test_without_it_a_dash_is_no_file(load):
    with pytest.raises(DocumentError, match="- does not exist"):
        load("-")
