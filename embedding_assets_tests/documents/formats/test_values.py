"""Fields of rows as metadata, and texts joined of several."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embedding_assets.documents.document import Document
from embedding_assets.documents.formats.options import ReadOptions
from embedding_assets.documents.rejection import BlankRow
from embedding_assets_tests.support.formats import read_as
from embedding_assets_tests.support.reading import jsonl


def only(folder: Path, row: dict[str, Any], options: ReadOptions | None = None) -> Document:
    (document,), rejections = read_as(folder, "a.jsonl", jsonl(row), options)
    assert not rejections
    return document


def test_nested_metadata_is_kept(tmp_path: Path) -> None:
    document = only(tmp_path, {"page_content": "words", "metadata": {"page": 3, "deep": {"er": [1, 2]}}})
    assert document.text == "words"
    assert document.metadata.model_dump()["metadata"] == {"page": 3, "deep": {"er": [1, 2]}}


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ({"url": "https://example.org", "kind": "web"}, "https://example.org"),
        ({"$oid": "507f1f77"}, "507f1f77"),
        (["a", "b"], "a, b"),
        ({"x": {"y": 1}}, "a.jsonl"),
        (True, "a.jsonl"),
        (None, "a.jsonl"),
        (7, "7"),
    ],
)
def test_a_source_is_whatever_names_it(tmp_path: Path, source: object, shown: str) -> None:
    document = only(tmp_path, {"text": "words", "source": source})
    assert document.metadata.source == shown
    kept = document.metadata.model_dump().get("source_fields")
    assert kept == (source if isinstance(source, dict | list) else None)


def test_an_object_as_title_or_id_does_not_reject_the_row(tmp_path: Path) -> None:
    document = only(tmp_path, {"text": "words", "title": {"name": "A title"}, "id": {"$oid": "5"}})
    assert (document.metadata.title, document.metadata.source) == ("A title", "a.jsonl#5")


def test_what_pandas_writes_where_there_is_nothing_is_nothing(tmp_path: Path) -> None:
    nan = float("nan")
    document = only(tmp_path, {"text": nan, "body": "words", "title": nan, "id": nan, "source": nan})
    metadata = document.metadata
    assert (document.text, document.context_header, metadata.title, metadata.source) == ("words", "", "a", "a.jsonl")
    assert only(tmp_path, {"a": nan, "b": "words"}, ReadOptions(template="{a}{b}")).text == "words"
    _, (rejection,) = read_as(tmp_path, "a.jsonl", jsonl({"text": nan}))
    assert isinstance(rejection, BlankRow)


@pytest.mark.parametrize(
    ("name", "content", "kept"),
    [
        ("a.csv", "text,origin,position\nwords,Brazil,clerk\n", {"origin": "Brazil", "position": "clerk"}),
        (
            "a.md",
            "---\nsource: https://example.org\norigin: [a]\n---\nwords",
            {"source": "https://example.org", "origin": ["a"]},
        ),
    ],
)
def test_what_is_called_as_a_field_of_ours_is_kept(
    tmp_path: Path, name: str, content: str, kept: dict[str, Any]
) -> None:
    (document,), _ = read_as(tmp_path, name, content)
    metadata = document.metadata
    assert metadata.model_extra == {f"{field}_fields": value for field, value in kept.items()}
    assert (metadata.source, metadata.origin) == (name, name)


def test_a_long_list_of_numbers_is_left_out_and_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    row = {"text": "words", "vector": [0.5] * 384, "scores": [1, 2], "deep": {"vector": [1] * 100, "page": 1}}
    with caplog.at_level(logging.WARNING):
        documents, _ = read_as(tmp_path, "left_out.jsonl", jsonl(row, row))
    assert [one.metadata.model_extra for one in documents] == [{"scores": [1, 2], "deep": {"page": 1}}] * 2
    assert [record.message for record in caplog.records] == ["left out a long list of numbers"]
    assert caplog.records[0].__dict__["field"] == "vector"


@pytest.mark.parametrize(
    ("template", "row", "text"),
    [
        ("{title}\n{body}", {"title": "T", "body": "words"}, "T\nwords"),
        ("{title}\\n{body}", {"title": "T", "body": "words"}, "T\nwords"),
        ("Q: {q}\nA: {a}", {"q": "why", "a": None}, "Q: why\nA:"),
        ("{meta.name}: {n}", {"meta": {"name": "x"}, "n": 7}, "x: 7"),
        ("{tags} {{kept}}", {"tags": ["a", "b"]}, '["a", "b"] {kept}'),
    ],
)
def test_several_fields_make_a_text(tmp_path: Path, template: str, row: dict[str, Any], text: str) -> None:
    document = only(tmp_path, row, ReadOptions(template=template))
    assert document.text == text
    assert document.context_header == ""


def test_a_template_keeps_what_can_be_filtered_by(tmp_path: Path) -> None:
    row = {"question": "why", "answer": "because " * 100}
    document = only(tmp_path, row, ReadOptions(template="{question} {answer}"))
    assert document.metadata.model_extra == {"question": "why"}


def test_a_template_of_missing_or_empty_fields_rejects_the_row(tmp_path: Path) -> None:
    options = ReadOptions(template="{a} {b}")
    _, rejections = read_as(tmp_path, "a.jsonl", jsonl({"c": "x"}, {"a": "", "b": None}), options)
    assert [one.reason for one in rejections] == [
        "has no column any of 'a', 'b'; found 'c'; name the one with the text by --text-column",
        "is empty or blank in 'a', 'b'",
    ]


def test_a_column_may_be_nested_or_written_otherwise(tmp_path: Path) -> None:
    assert only(tmp_path, {"a": {"b": "words"}}, ReadOptions(text_column="a.b")).text == "words"
    assert only(tmp_path, {"Text": "words"}).text == "words"
    assert only(tmp_path, {"TEXT": "other", "text": "words"}).text == "words"


@pytest.mark.parametrize("text", ["\u200b", "\ufeff", "-", "..."])
def test_a_row_of_nothing_is_rejected(tmp_path: Path, text: str) -> None:
    _, (rejection,) = read_as(tmp_path, "a.jsonl", jsonl({"text": text}))
    assert rejection.reason == "has a 'text' that holds no words"


def test_tsv_has_plain_quotes(tmp_path: Path) -> None:
    rows = 'id\ttext\n1\t"Example rows\n2\tplain\n3\tsays "\n4\tend\n5\t"quoted" start\n6\t"all ""of"" it"\n'
    documents, rejections = read_as(tmp_path, "a.tsv", rows)
    assert not rejections
    assert [one.text for one in documents] == [
        '"Example rows',
        "plain",
        'says "',
        "end",
        '"quoted" start',
        'all "of" it',
    ]


def test_tsv_with_a_quoted_header_is_quoted(tmp_path: Path) -> None:
    documents, rejections = read_as(tmp_path, "a.tsv", '"id"\t"text"\n"1"\t"two\nlines"\n')
    assert not rejections
    assert [one.text for one in documents] == ["two\nlines"]


@pytest.mark.parametrize(
    "content",
    [
        "id;text\n1;words, and more\n",
        "id\ttext\n1\twords, and more\n",
        "id|text\n1|words, and more\n",
        'sep=;\nid;text\n1;"words, and more"\n',
        '"a, b";text\n1;words, and more\n',
        'id,text\n1,"words, and more"\n',
    ],
)
def test_the_delimiter_is_that_of_the_header(tmp_path: Path, content: str) -> None:
    (document,), rejections = read_as(tmp_path, "a.csv", content)
    assert not rejections
    assert document.text == "words, and more"


def test_text_of_bytes_and_large_and_nested_columns(tmp_path: Path) -> None:
    table = pa.table(
        {
            "text": pa.array([b"caf\xc3\xa9", b"\xff"], pa.large_binary()),
            "kind": pa.array(["a", "b"]).dictionary_encode(),
            "map": pa.array([[("k", 1)], []], pa.map_(pa.string(), pa.int64())),
            "vector": pa.array([[0.5] * 64] * 2, pa.list_(pa.float32(), 64)),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    (document,), (rejection,) = read_as(tmp_path, "a.parquet", (tmp_path / "a.parquet").read_bytes())
    assert document.text == "café"
    assert json.loads(document.metadata.model_dump_json())["kind"] == "a"
    assert "vector" not in document.metadata.model_dump()
    assert (rejection.line, rejection.reason) == (2, "has a 'text' that is not valid UTF-8")


def test_maps_of_parquet_and_arrow_are_objects(tmp_path: Path) -> None:
    plain = pa.map_(pa.string(), pa.int64())
    kinds = {"m": plain, "many": pa.list_(pa.struct([("inner", plain)])), "deep": pa.map_(pa.string(), plain)}
    row = {"text": ["words"], "m": [[("a", 1), ("b", 2)]], "many": [[{"inner": [("c", 3)]}, {"inner": None}]]}
    kinds |= {"empty": plain, "none": plain, "lists": pa.map_(pa.string(), pa.list_(plain)), "list": pa.list_(plain)}
    row |= {"empty": [[]], "none": [None], "lists": [[("f", [[], [("g", 5)]])]], "list": [[]]}
    columns = {**row, "deep": [[("d", [("e", 4)]), ("h", [])]]}
    table = pa.table({name: pa.array(values, kinds.get(name)) for name, values in columns.items()})
    pq.write_table(table, tmp_path / "a.parquet")
    with pa.ipc.new_file(tmp_path / "a.arrow", table.schema) as writer:
        writer.write_table(table)
    for name in ("a.parquet", "a.arrow"):
        (document,), _ = read_as(tmp_path, name, (tmp_path / name).read_bytes())
        fields = document.metadata.model_dump()
        assert (fields["m"], fields["deep"]) == ({"a": 1, "b": 2}, {"d": {"e": 4}, "h": {}})
        assert fields["many"] == [{"inner": {"c": 3}}, {"inner": None}]
        others = [fields[column] for column in ("empty", "lists", "list")]
        assert others == [{}, {"f": [{}, {"g": 5}]}, []]
        assert "none" not in fields
