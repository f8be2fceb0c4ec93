from __future__ import annotations

from pathlib import Path

import pytest

from embedding_assets_tests.support.reading import jsonl, read, written


def test_a_row_brings_its_own_fields(tmp_path: Path) -> None:
    row = {
        "content": "kept\r\nwhole",
        "source": "https://example.org/1",
        "title": "A title",
        "id": 7,
        "tags": ["a", {"b": None}],
        "rate": float("inf"),
        "ok": True,
        "none": None,
        "digest": "row's",
        "origin": "row's",
        "embedding": [0.5],
        "token_count": 3,
    }
    path = written(tmp_path / "a.ndjson", b"\xef\xbb\xbf" + jsonl(row))

    (document,), rejections = read(path)

    assert not rejections
    assert document.text == "kept\nwhole"
    assert not document.markdown
    assert document.context_header == "A title"
    assert document.metadata.model_dump() == {
        "source": "https://example.org/1",
        "title": "A title",
        "origin": path.as_posix(),
        "id": 7,
        "tags": ["a", {"b": None}],
        "ok": True,
        "digest": "row's",
        "origin_fields": "row's",
    }


def test_a_row_is_named_by_source_or_id_or_file(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a.jsonl",
        jsonl({"text": "a", "source": "mine"}, {"text": "b", "id": "x"}, {"text": "c", "source": ""}),
    )
    documents, _ = read(path)
    assert [one.metadata.source for one in documents] == ["mine", f"{path.as_posix()}#x", path.as_posix()]
    assert [one.metadata.title for one in documents] == ["a", "a", "a"]
    assert [one.context_header for one in documents] == ["", "", ""]


def test_a_row_that_is_a_chunk_keeps_hash_and_header(tmp_path: Path) -> None:
    row = {"chunk_text": "text", "chunk_hash": "00ff", "context_header": "A > B", "title": "T"}
    (document,), _ = read(written(tmp_path / "a.jsonl", jsonl(row)))
    assert (document.chunk_hash, document.context_header, document.metadata.title) == ("00ff", "A > B", "T")


@pytest.mark.parametrize(
    ("row", "column", "text"),
    [
        ({"body": "4", "content": "3", "text": "2", "chunk_text": "1"}, None, "1"),
        ({"body": "4", "text": None}, None, "4"),
        ({"body": "4", "text": "2"}, "body", "4"),
        ({"abstract": "5", "text": "2"}, "abstract", "5"),
    ],
)
def test_which_field_is_the_text(tmp_path: Path, row: dict[str, str], column: str | None, text: str) -> None:
    (document,), _ = read(written(tmp_path / "a.jsonl", jsonl(row)), text_column=column)
    assert document.text == text


def test_a_column_that_is_named_but_missing_is_reported_with_what_there_is(tmp_path: Path) -> None:
    names = [f"column{number}" for number in range(30)]
    path = written(tmp_path / "a.csv", ",".join(names) + "\n" + ",".join(names) + "\n")
    documents, (rejection,) = read(path, text_column="abstract")
    assert not documents
    assert rejection.reason.startswith("has no column 'abstract'; found 'column0', 'column1'")
    assert "…" in rejection.reason


def test_folders_of_partitions_are_fields(tmp_path: Path) -> None:
    folder = tmp_path / "year=2024/month=05/place=S%C3%A3o Paulo%3A1/none=__HIVE_DEFAULT_PARTITION__/a=b=c"
    rows = written(folder / "part=0.jsonl", jsonl({"text": "a"}, {"text": "b", "month": "May"}))
    page = written(folder / "page.md", "---\nyear: 1999\n---\n\ntext\n")
    (first, second), _ = read(rows)
    (third,), _ = read(page)
    place = {"place": "São Paulo:1"}
    assert first.metadata.__pydantic_extra__ == {"year": 2024, "month": 5, **place}
    assert second.metadata.__pydantic_extra__ == {"year": 2024, "month": "May", **place}
    assert third.metadata.__pydantic_extra__ == {"year": 1999, "month": 5, **place}


def test_a_folder_cannot_name_what_a_chunk_has_anyway(tmp_path: Path) -> None:
    (document,), _ = read(written(tmp_path / "source=x/title=y/chunk_hash=00/a.jsonl", jsonl({"text": "a"})))
    assert (document.metadata.title, document.chunk_hash, document.metadata.__pydantic_extra__) == ("a", None, {})
    documents, (rejection,) = read(written(tmp_path / "key=%00/a.md", "text"))
    assert (documents, rejection.reason) == ([], "contains a NUL character in 'key'")
