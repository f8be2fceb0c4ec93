"""Records: what is accepted, what is refused, and that errors never show text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from embedding_assets.models import DocumentMetadata, EmbeddingStats, PrefixStats, ProcessedChunk, embedded_text

METADATA = DocumentMetadata(source="docs/a.md", title="A")
CANARY = "canary-7f3a"


def chunk(**changes: object) -> ProcessedChunk:
    return ProcessedChunk(**{"chunk_hash": "ab12", "chunk_text": "text", "metadata": METADATA, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"chunk_text": ""}, "is empty or blank"),
        ({"chunk_text": " \n\t\u2003"}, "is empty or blank"),
        ({"chunk_text": f"{CANARY}\x00"}, "NUL"),
        ({"chunk_text": f"{CANARY}\ud800"}, "lone surrogate"),
        ({"context_header": f"{CANARY}\x00"}, "NUL"),
        ({"context_header": f"{CANARY}\udfff"}, "lone surrogate"),
        ({"chunk_hash": "a"}, "pattern"),
        ({"chunk_hash": "AB12"}, "pattern"),
        ({"chunk_hash": "xyz"}, "pattern"),
        ({"chunk_hash": "ab\n"}, "pattern"),
        ({"chunk_hash": "a" * 129}, "pattern"),
        ({"chunk_index": -1}, "greater than or equal to 0"),
        ({"chunk_index": 1}, "chunk_index 1 is not below total_chunks 1"),
        ({"total_chunks": 0}, "greater than or equal to 1"),
        ({"token_count": -1}, "greater than or equal to 0"),
        ({"embedding": [float("nan")]}, "contains NaN or infinity"),
        ({"embedding": [1.0, float("-inf")]}, "contains NaN or infinity"),
        ({"embedding": []}, "at least 1"),
        ({"embedding": [0.1] * 2001}, "at most 2000"),
        ({"embedding": ["x"]}, "valid number"),
    ],
)
def test_refused_chunks(changes: dict[str, object], message: str):
    with pytest.raises(ValidationError, match=message) as caught:
        chunk(**changes)
    assert CANARY not in str(caught.value)
    assert CANARY not in repr(caught.value)


def test_accepted_chunks():
    accepted = chunk(embedding=[1, 2.5], chunk_text=" text\n", chunk_index=1, total_chunks=2)
    assert accepted.embedding == [1.0, 2.5]
    assert accepted.chunk_text == " text\n"
    assert ProcessedChunk.model_validate_json(accepted.model_dump_json()) == accepted


def test_length_of_an_embedding_can_be_demanded():
    data = chunk(embedding=[1.0, 0.0]).model_dump()
    assert ProcessedChunk.model_validate(data, context={"dimensions": 2}).embedding == [1.0, 0.0]
    with pytest.raises(ValidationError, match="has 2 dimensions, not 768"):
        ProcessedChunk.model_validate(data, context={"dimensions": 768})


def test_chunks_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        chunk().chunk_text = "other"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"source": ""}, "at least 1"),
        ({"source": "a\x00"}, "NUL"),
        ({"source": "a", "title": "\ud800"}, "lone surrogate"),
        ({"source": "a", "note": f"{CANARY}\x00"}, "NUL"),
        ({"source": "a", "note": [{"deep": f"{CANARY}\ud800"}]}, "lone surrogate"),
        ({"source": "a", "note": {f"{CANARY}\x00": 1}}, "NUL"),
        ({"source": "a", "number": float("nan")}, "NaN"),
        ({"source": "a", "thing": object()}, "note|thing|JSON|valid"),
    ],
)
def test_refused_metadata(fields: dict[str, object], message: str):
    with pytest.raises(ValidationError, match=message) as caught:
        DocumentMetadata.model_validate(fields)
    assert CANARY not in str(caught.value)


def test_metadata_keeps_further_fields_and_defaults_its_origin():
    metadata = DocumentMetadata.model_validate({"source": "a#1", "kind": "row", "tags": ["x", 1, None]})
    assert metadata.origin == "a#1"
    assert metadata.model_dump() == {
        "source": "a#1", "title": "", "origin": "a#1", "kind": "row", "tags": ["x", 1, None],
    }  # fmt: skip
    assert DocumentMetadata(source="a#1", origin="a").origin == "a"


def test_hash_of_a_chunk_never_changes():
    # Tables in use hold it: another hash would mean to embed everything again.
    made = ProcessedChunk.create_from_chunk("text", METADATA, context_header="A > B")
    assert made.chunk_hash == "b26728e54b6e4dd874a2a337b6b6e220187e271e6679658c15ffe58ffa61e52c"


@pytest.mark.parametrize(
    "change",
    [
        {"chunk_text": "text "},
        {"metadata": DocumentMetadata(source="docs/b.md")},
        {"metadata": DocumentMetadata(source="docs/a.md", origin="docs")},
        {"context_header": "A"},
        {"occurrence": 1},
    ],
)
def test_hash_depends_on_what_a_chunk_says_and_where_it_comes_from(change: dict[str, object]):
    made = {"chunk_text": "text", "metadata": METADATA}
    assert ProcessedChunk.create_from_chunk(**made) != ProcessedChunk.create_from_chunk(**{**made, **change})


@pytest.mark.parametrize("change", [{"chunk_index": 1, "total_chunks": 3}, {"token_count": 9}])
def test_hash_does_not_depend_on_the_position(change: dict[str, int]):
    one, other = (ProcessedChunk.create_from_chunk("text", METADATA, **fields) for fields in ({}, change))
    assert one.chunk_hash == other.chunk_hash


def test_hash_can_be_given():
    assert ProcessedChunk.create_from_chunk("text", METADATA, chunk_hash="00ff").chunk_hash == "00ff"
    with pytest.raises(ValidationError, match="pattern"):
        ProcessedChunk.create_from_chunk("text", METADATA, chunk_hash="no")


@given(st.text())
def test_any_text_becomes_a_chunk_or_a_validation_error(text: str):
    try:
        made = ProcessedChunk.create_from_chunk(text, METADATA)
    except ValidationError:
        assert not text.strip() or "\x00" in text
    else:
        assert made.chunk_text == text


def test_lone_surrogates_are_validation_errors_too():
    with pytest.raises(ValidationError, match="lone surrogate"):
        ProcessedChunk.create_from_chunk("\ud800", METADATA)


@pytest.mark.parametrize(("header", "expected"), [("", "text"), ("A > B", "A > B\ntext")])
def test_embedded_text(header: str, expected: str):
    assert embedded_text(header, "text") == expected


def test_stats():
    stats = EmbeddingStats(
        space="s", embedded=6, failed=2, skipped=1, seconds=2.0, prefixes={"a": PrefixStats(embedded=6)}
    )
    assert (stats.processed, stats.chunks_per_second) == (9, 3.0)
    assert EmbeddingStats(space="s").chunks_per_second == 0.0
    assert EmbeddingStats.model_validate_json(stats.model_dump_json()) == stats
