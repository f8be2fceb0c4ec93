"""Tables, lists and code that do not fit into one chunk; and what holds for every text."""

from __future__ import annotations

import re
from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st

from embedding_assets.documents.document import Document, Places
from embedding_assets.documents.splitting import CHARACTERS_PER_TOKEN, Splitter
from embedding_assets.models import DocumentMetadata, ProcessedChunk, embedded_text
from embedding_assets_tests.support.formats import small_tokenizer

TOKENIZER = small_tokenizer()
splitter_of = cache(lambda tokens, overlap: Splitter(TOKENIZER, chunk_tokens=tokens, chunk_overlap=overlap))


def split(text: str, tokens: int = 40, *, markdown: bool = True, overlap: int = 0) -> list[ProcessedChunk]:
    document = Document(DocumentMetadata(source="a", title="Title"), text, markdown, places=Places("line"))
    return splitter_of(tokens, overlap).split(document)


def test_each_piece_of_a_table_has_its_header() -> None:
    rows = [f"| row{number} | some words of row {number} |" for number in range(30)]
    head = "| name | what it says |\n|---|---|"
    chunks = split(f"# Title\n\nAll of them:\n\n{head}\n" + "\n".join(rows) + "\n\nThe end.\n", 60)
    assert len(chunks) > 5
    assert all(head in chunk.chunk_text for chunk in chunks)
    assert chunks[0].chunk_text.startswith("All of them:\n\n| name")
    assert chunks[-1].chunk_text.endswith("The end.")
    found = [line for chunk in chunks for line in chunk.chunk_text.split("\n") if line.startswith("| row")]
    assert found == rows


def test_each_piece_of_a_table_in_html_has_its_header() -> None:
    rows = [f"<tr><td>row{number}</td><td>some words of row {number}</td></tr>" for number in range(20)]
    head = "<table>\n<tr><th>name</th><th>what</th></tr>"
    chunks = split(f"# Title\n\n{head}\n" + "\n".join(rows) + "\n</table>\n\nThe end.\n", 90)
    assert len(chunks) > 3
    assert all(chunk.chunk_text.startswith(head) for chunk in chunks[:-1])
    assert chunks[-1].chunk_text == "The end."
    found = [line for chunk in chunks for line in chunk.chunk_text.split("\n") if line.startswith("<tr><td>")]
    assert found == rows


def test_a_header_that_is_most_of_a_chunk_is_not_repeated() -> None:
    head = "| " + " | ".join(f"a long name of column {number}" for number in range(10)) + " |\n|" + "---|" * 10
    rows = ["| " + " | ".join(f"v{row}" for _ in range(10)) + " |" for row in range(10)]
    chunks = split(f"{head}\n" + "\n".join(rows), 64)
    assert sum("a long name of column 1 " in chunk.chunk_text for chunk in chunks) == 1
    assert max(chunk.token_count for chunk in chunks) <= 64


def test_a_piece_of_comments_and_anchors_is_no_chunk() -> None:
    words = " ".join(f"word{number}" for number in range(10))
    text = f"# Title\n\n{words}\n\n<a id='x'></a>\n<!-- {words} -->\n\n{words}\n\n```html\n<!-- {words} -->\n```\n"
    assert [chunk.chunk_text.split()[0] for chunk in split(text, 44)] == ["word0", "word0", "```html"]


def test_each_piece_of_a_list_has_its_lead_in() -> None:
    items = [f"- item{number} with some words that fill the room" for number in range(12)]
    chunks = split("Before. These are the reasons:\n\n" + "\n".join(items) + "\n")
    assert len(chunks) > 3
    assert chunks[0].chunk_text.startswith("Before. These are the reasons:")
    assert all(chunk.chunk_text.startswith("These are the reasons:\n\n- item") for chunk in chunks[1:])
    assert [word for chunk in chunks for word in re.findall(r"item\d+", chunk.chunk_text)] == [
        f"item{number}" for number in range(12)
    ]


def test_code_is_whole_where_it_fits_and_fenced_where_it_does_not() -> None:
    block = "```python\n" + "\n".join(f"value{number} = {number}" for number in range(4)) + "\n```"
    text = f"{'Some words that fill most of a chunk. ' * 3}\n\n{block}\n"
    assert any(block in chunk.chunk_text for chunk in split(text, 48))

    long = "```python\n" + "\n".join(f"value{number} = {number}" for number in range(40)) + "\n```\n\nAfter it."
    chunks = split(long)
    assert len(chunks) > 3
    for chunk in chunks:
        assert chunk.chunk_text.startswith("```python\nvalue")
        assert chunk.chunk_text.count("```") == 2
    found = [line for chunk in chunks for line in chunk.chunk_text.split("\n") if line.startswith("value")]
    assert found == [f"value{number} = {number}" for number in range(40)]


def test_code_is_rather_cut_between_its_paragraphs() -> None:
    functions = [f"def f{number}():\n    return {number} + 1" for number in range(8)]
    for chunk in split("```\n" + "\n\n".join(functions) + "\n```", 48):
        assert chunk.chunk_text.count("def") == chunk.chunk_text.count("return") > 0


def test_what_leads_to_a_long_paragraph_is_not_left_alone() -> None:
    chunks = split("Note this.\n\n" + "Some words make a sentence. " * 30)
    assert chunks[0].chunk_text.startswith("Note this.\n\nSome words")


def test_sections_of_nothing_make_no_chunk() -> None:
    blank = [
        "---",
        "***",
        "\u200b\ufeff",
        "![](a.png)",
        "<!-- a comment\n\n# in it -->",
        "&nbsp;",
        "<br/>",
        '<a name="x"></a>',
        "...",
    ]
    named = ["[TOC]", "```c\n```", "[ref]: https://example.org", "- [Use](#use)\n- [More](#more)"]
    text = "".join(f"## Section\n\n{one}\n\n" for one in named)
    assert [chunk.chunk_text for chunk in split(f"# Title\n\n{text}## Last\n\nwords\n")] == ["words"]
    for one in blank:
        section = f"## Section\n\n{one}\n\n## Last\n\nwords"
        assert [chunk.chunk_text for chunk in split(f"# Title\n\n{section}\n")] == [section]
    for one in [*blank, *named]:
        assert split(f"{one}\n") == []
    assert [chunk.chunk_text for chunk in split("👍\n")] == ["👍"]


def test_the_first_heading_does_not_head_its_siblings() -> None:
    chunks = split("## How do I cancel?\n\nBilling.\n\n## Which cards?\n\nVisa.\n")
    assert [chunk.context_header for chunk in chunks] == ["Title > How do I cancel?", "Title > Which cards?"]


def test_chunks_know_their_lines() -> None:
    chunks = split("# Title\n\none\n\n## Two\n\ntwo\ntwo\n\n\nthree\n")
    assert [chunk.metadata.model_dump()["position"] for chunk in chunks] == [
        {"line": 3, "last_line": 3},
        {"line": 7, "last_line": 11},
    ]


def test_only_the_position_changes_where_text_moves() -> None:
    before = split("# Title\n\n## One\n\none\n\n## Two\n\ntwo\n")
    after = split("# Title\n\n## One\n\none\nand more\n\n## Two\n\ntwo\n")
    assert before[1].chunk_hash == after[1].chunk_hash
    assert before[1].metadata != after[1].metadata


def test_chunks_know_their_pages() -> None:
    document = Document(DocumentMetadata(source="a"), "one\n\ntwo\n\nthree", False, places=Places("page", (5, 10)))
    (chunk,) = splitter_of(40, 0).split(document)
    assert chunk.metadata.model_dump()["position"] == {"page": 1, "last_page": 3}


NAMES = st.integers(0, 10**6)
WORD = st.sampled_from(["alpha", "of", "unbelievable", "naïve", "語", "x" * 20, "end.", "(so)", "1,5", "🙂"])
LINE = st.lists(WORD, min_size=1, max_size=30).map(" ".join)
PARAGRAPH = st.lists(LINE, min_size=1, max_size=4).map("\n".join)
TABLE = st.lists(LINE, min_size=1, max_size=12).map(
    lambda rows: "| n | v |\n|---|---|\n" + "\n".join(f"| {number} | {row} |" for number, row in enumerate(rows))
)
ITEMS = st.lists(LINE, min_size=1, max_size=10).map(lambda items: "\n".join(f"- {item}" for item in items))
CODE = st.lists(LINE | st.just(""), max_size=12).map(lambda lines: "```py\n" + "\n".join(lines) + "\n```")
HEADING = LINE.map(lambda line: f"## {line[:40]}")
BLOCKS = st.lists(PARAGRAPH | TABLE | ITEMS | CODE | HEADING | LINE.map(lambda line: f"{line[:30]}:"), max_size=12)
REPEATED = re.compile(r"\| n \| v \||\|---\|---\||```(?:py)?")


def numbered(text: str) -> str:
    """The text with a number of its own at each word, so that what is lost or doubled shows."""
    count = iter(range(10**6))
    return re.sub(r"(?<=[\w.)])(?=[ \n]|$)(?<!```py)", lambda _: f" w{next(count)}", text)


@settings(deadline=None, max_examples=150)
@given(blocks=BLOCKS, size=st.sampled_from([24, 48, 200]), markdown=st.booleans())
def test_nothing_is_lost_and_nothing_is_doubled(blocks: list[str], size: int, markdown: bool) -> None:
    text = numbered("\n\n".join(blocks))
    chunks = split(text, size, markdown=markdown)
    words = re.findall(r"w\d+", text)
    where = [set(re.findall(r"w\d+", f"{chunk.context_header}\n{chunk.chunk_text}")) for chunk in chunks]
    bodies = [set(re.findall(r"w\d+", chunk.chunk_text)) for chunk in chunks]
    leads = {word for line in text.split("\n") if line.endswith(":") for word in re.findall(r"w\d+", line)}
    leads |= {word for block in blocks for word in re.findall(r"w\d+", block) if block.endswith(":")}
    heads = {word for line in text.split("\n") if line.startswith("#") for word in re.findall(r"w\d+", line)}
    table_heads = {word for line in text.split("\n") if line.startswith("| n") for word in re.findall(r"w\d+", line)}
    for chunk in chunks:
        assert chunk.token_count == len(TOKENIZER.encode(embedded_text(chunk.context_header, chunk.chunk_text))) <= size
        assert len(chunk.chunk_text) <= CHARACTERS_PER_TOKEN * size
    for word in set(words) - heads:
        assert any(word in found for found in where), word
        if word not in leads | table_heads:
            assert sum(word in found for found in bodies) <= 1, word


@settings(deadline=None, max_examples=60)
@given(before=BLOCKS, after=BLOCKS, edited=PARAGRAPH)
def test_an_edit_in_another_section_changes_no_chunk(before: list[str], after: list[str], edited: str) -> None:
    head, tail = "\n\n".join(before), "\n\n".join(after)
    one = split(f"# A\n\nwords\n\n# B\n\n{head}\n\n# C\n\n{tail}\n", 48)
    two = split(f"# A\n\n{edited}\n\n# B\n\n{head}\n\n# C\n\n{tail}\n", 48)
    kept = {chunk.chunk_hash for chunk in one if not chunk.context_header.startswith("Title > A")}
    assert kept == {chunk.chunk_hash for chunk in two if not chunk.context_header.startswith("Title > A")}


@settings(deadline=None, max_examples=60)
@given(blocks=BLOCKS, markdown=st.booleans())
def test_an_overlap_is_what_stands_before(blocks: list[str], markdown: bool) -> None:
    text = "\n\n".join(blocks)
    for chunk in split(text, 48, markdown=markdown, overlap=12):
        assert chunk.token_count <= 48
