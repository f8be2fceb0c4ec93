"""What of title and headings is embedded, and that a chunk says where it stands either way."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedding_assets.documents.document import Document, Part, Places
from embedding_assets.documents.loading import configured_splitter
from embedding_assets.documents.splitting import Splitter
from embedding_assets.models import DocumentMetadata, embedded_text, shown_headings
from embedding_assets.postgres.places import read_places
from embedding_assets.retrieval import Searcher
from embedding_assets_tests.documents.test_splitting import TOKENIZER, document, parts
from embedding_assets_tests.support.fakes import FakeProvider
from embedding_assets_tests.support.loading import write

CHOICES = ("all", "headings", "title", "none")
PAGE = "# Guide\n\nintro\n\n## Install\n\nrun it\n\n### Linux\n\nas root\n"


@cache
def splitter_for(header: str, tokens: int = 64) -> Splitter:
    return Splitter(TOKENIZER, chunk_tokens=tokens, chunk_overlap=0, header=header)


def headings(chunks) -> list[str]:
    return [shown_headings(chunk.context_header, chunk.metadata.model_dump()) for chunk in chunks]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("all", ["Guide", "Guide > Install", "Guide > Install > Linux"]),
        ("headings", ["", "Install", "Install > Linux"]),
        ("title", ["Guide", "Guide", "Guide"]),
        ("none", ["", "", ""]),
    ],
)
def test_the_chosen_part_of_title_and_headings_is_embedded_and_all_of_it_is_kept(header, expected):
    chunks = splitter_for(header).split(document(PAGE, places=Places("line")))
    assert [chunk.context_header for chunk in chunks] == expected
    assert headings(chunks) == ["Guide", "Guide > Install", "Guide > Install > Linux"]
    assert [chunk.metadata.position["line"] for chunk in chunks] == [3, 7, 11]
    for chunk in chunks:
        assert chunk.token_count == len(TOKENIZER.encode(embedded_text(chunk.context_header, chunk.chunk_text)))
        assert ("headings" in chunk.metadata.position) == (chunk.context_header != headings([chunk])[0])


def test_headings_that_are_embedded_are_not_kept_twice():
    (chunk,) = splitter_for("all").split(document("text"))
    assert chunk.metadata.model_dump() == {"source": "/guide.md", "title": "Guide", "origin": "/guide.md"}


def test_the_header_that_a_row_brings_counts_as_headings_and_its_title_as_title():
    def row(title: str, header: str) -> Document:
        metadata = DocumentMetadata(source="a.csv#1", title=title, origin="a.csv")
        return Document(metadata, "text", markdown=False, context_header=header)

    for header, of_title, of_row in (
        ("all", "Pump", "Prices"),
        ("headings", "", "Prices"),
        ("title", "Pump", ""),
        ("none", "", ""),
    ):
        splitter = splitter_for(header)
        assert parts(splitter.split(row("Pump", "Pump"))) == [(of_title, "text")]
        assert parts(splitter.split(row("Pump", "Prices"))) == [(of_row, "text")]
        assert headings(splitter.split(row("Pump", "Prices"))) == ["Prices"]


def test_small_definitions_of_code_share_a_chunk_whatever_is_embedded():
    text = "class A:\n    x = 1\n    y = 2\n"
    code = [Part(0, 9, ("A",)), Part(9, 19, ("A", "x")), Part(19, 29, ("A", "y"))]
    made = {
        header: splitter_for(header).split(document(text, markdown=False, parts=tuple(code), is_code=True))
        for header in CHOICES
    }
    assert {header: parts(chunks) for header, chunks in made.items()} == {
        "all": [("Guide > A", text.strip())],
        "headings": [("A", text.strip())],
        "title": [("Guide", text.strip())],
        "none": [("", text.strip())],
    }
    assert {tuple(headings(chunks)) for chunks in made.values()} == {("Guide > A",)}


def test_a_choice_is_another_manner_and_the_default_is_the_one_before():
    manners = {header: splitter_for(header).manner for header in CHOICES}
    assert len(set(manners.values())) == 4
    assert manners["all"] == Splitter(TOKENIZER, chunk_tokens=64, chunk_overlap=0).manner


pages = st.lists(
    st.tuples(st.sampled_from(["# {}", "## {}", "### {}", "{}", "- {}"]), st.text("abc xyz.", min_size=1, max_size=80)),
    max_size=12,
).map(lambda lines: "\n\n".join(form.format(text) for form, text in lines))


@given(pages, st.sampled_from(CHOICES))
@settings(deadline=None, max_examples=150)
def test_no_choice_loses_words_or_makes_a_chunk_too_long_or_a_hash_twice(text, header):
    source = document(text)
    chunks = splitter_for(header, 24).split(source)
    usual = splitter_for("all", 24).split(source)
    said = "".join("".join(chunk.chunk_text.split()) for chunk in chunks)
    assert said == "".join("".join(chunk.chunk_text.split()) for chunk in usual)
    assert all(chunk.token_count <= 24 for chunk in chunks)
    assert len({chunk.chunk_hash for chunk in chunks}) == len(chunks)


def test_another_choice_splits_again_at_the_next_load_and_shows_the_same_headings(load, settings, database, tmp_path):
    docs = write(tmp_path / "docs", guide=PAGE)
    load(docs)
    load.embed()
    places = []
    for header in ("all", "none", "headings"):
        changed = settings.with_embedding(chunk_tokens=32, chunk_header=header)
        load.splitter = configured_splitter(changed, database)
        report = load(docs)
        assert (report.changed, report.unchanged) == ((0, 1) if header == "all" else (1, 0))
        seen = load.embed()
        assert seen == {"all": [], "none": ["intro", "run it", "as root"], "headings": seen}[header]
        found: list[str] = []
        read_places(database, lambda place, found=found: found.append(place.header))
        places.append(sorted(found))
    # The intro, without a heading of its own, is the text that it was.
    assert set(seen) == {"Install\nrun it", "Install > Linux\nas root"}
    assert places == [["Guide", "Guide > Install", "Guide > Install > Linux"]] * 3


def test_what_is_found_shows_its_headings_and_is_embedded_once(load, settings, database, tmp_path):
    load.splitter = configured_splitter(settings.with_embedding(chunk_tokens=32, chunk_header="none"), database)
    write(tmp_path / "docs", a="# A\n\n## Warranty\n\nTwo years.\n", b="# B\n\n## Returns\n\nTwo years.\n")
    load(tmp_path / "docs")
    assert load.embed() == ["Two years."]
    assert load.pending() == []
    with Searcher(settings, database=database, provider=FakeProvider()) as searcher:
        answer = searcher.search("years", k=5, context=1)
    assert sorted(result.context_header for result in answer) == ["A > Warranty", "B > Returns"]
    assert {result.snippet.text for result in answer} == {"Two years."}
