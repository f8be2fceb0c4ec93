"""Answers as a person reads them."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from embedding_assets.cli.answers import answer_view
from embedding_assets.retrieval import Answer, Neighbour, Place, RandomScores, SearchResult
from embedding_assets.retrieval.snippet import snippet_of

TEXT = "Keys are rotated every ninety days. " + "Nothing more is to be said of that. " * 20
LONG = SearchResult(
    "h1", 0.5, "docs/[b].md", "Title", "", TEXT, {}, "space", vector_rank=1, snippet=snippet_of(TEXT, "rotated keys")
)
SHORT = SearchResult(
    "h2", 0.75, "s", "T", "Head > [bold]", "text", {}, "space", vector_rank=1, snippet=snippet_of("text", "text")
)


def shown(*results: SearchResult, width: int = 100, terminal: bool = False, **fields: object) -> str:
    console = Console(
        file=io.StringIO(), width=width, force_terminal=terminal, color_system="standard" if terminal else None
    )
    console.print(answer_view(Answer(results, **fields)))
    return "".join(f"{line.rstrip()}\n" for line in console.file.getvalue().splitlines())


def test_score_place_and_the_part_that_matters():
    text = shown(SHORT, LONG)
    assert "0.750  Head > [bold]  s\n       text\n" in text
    assert "0.500  Title  docs/[b].md\n       Keys are rotated" in text
    assert text.rstrip().endswith("…")
    assert len(text) < 700
    assert "(space)" not in text


def test_spaces_are_named_where_there_are_several():
    text = shown(LONG, replace(SHORT, space="another"))
    assert "0.500  Title  docs/[b].md  (space)" in text
    assert "0.750  Head > [bold]  s  (another)" in text, "their scores cannot be compared"


def test_words_are_bold_in_a_terminal_and_plain_elsewhere():
    text = shown(LONG, terminal=True)
    assert "\x1b[1mKeys\x1b[0m are \x1b[1mrotated\x1b[0m every" in text
    assert "\x1b" not in shown(LONG, notes=("a note",))


def test_by_what_it_was_found():
    by_words = replace(SHORT, score=None, space="", vector_rank=None, text_rank=1)
    assert "  -    Head > [bold]  s  (by its words)" in shown(by_words)
    assert "(reranked 0.981)" in shown(replace(SHORT, rerank_score=0.981))
    assert "by its words" not in shown(replace(SHORT, text_rank=1))


@pytest.mark.parametrize(
    ("position", "place"),
    [
        ({"line": 88, "last_line": 93}, "guide.md:88-93"),
        ({"line": 88, "last_line": 88}, "guide.md:88"),
        ({"page": 7}, "guide.md, page 7"),
        ({"page": 7, "last_page": 8, "headings": ["A"]}, "guide.md, pages 7-8"),
        ({"slide": 3}, "guide.md, slide 3"),
        ({"headings": ["A"]}, "guide.md"),
        ({"line": "eight"}, "guide.md"),
        ("left", "guide.md"),
        (None, "guide.md"),
    ],
)
def test_where_in_its_file_an_answer_stands(position: object, place: str):
    text = shown(replace(SHORT, source="guide.md", metadata={"position": position}))
    assert text.startswith(f"0.750  Head > [bold]  {place}\n")


def test_a_row_without_a_source_shows_its_key():
    assert "0.750  Head > [bold]  42\n" in shown(replace(SHORT, source="", key={"id": "42"}))
    assert "a=1, b=2" in shown(replace(SHORT, source="", key={"a": "1", "b": "2"}))
    assert "0.750  h2\n" in shown(replace(SHORT, source="", context_header="", title=""))


def test_other_places():
    places = tuple(Place(f"h{n}", {"id": str(n)}, f"{n}.md" if n else "", "", "") for n in range(5))
    assert "also: 0; 1.md; 2.md and 2 more" in shown(replace(SHORT, other_places=places))
    assert "also: 1.md\n" in shown(replace(SHORT, other_places=places[1:2]))


def test_neighbours_stand_around():
    context = (Neighbour(-1, "a", "", "before " * 100), Neighbour(1, "b", "", "after"))
    before, text, after = shown(replace(SHORT, context=context), width=250).splitlines()[1:4]
    assert before.startswith("       ↑ … ")
    assert before.endswith("before")
    assert (text, after) == ("       text", "       ↓ after")


def test_notes_come_last_and_how_chunks_at_random_score():
    text = shown(LONG, notes=("one", "two"), random_scores=RandomScores(0.051, 0.083, 200), width=200)
    *_, one, two, last = text.splitlines()
    assert (one, two) == ("Note: one", "Note: two")
    # No least score is advised: in a small table, or one about a single thing, it would leave right answers out.
    assert last == "Note: chunks picked at random score 0.05 ± 0.08 with this question"
    assert shown(notes=("one",), random_scores=RandomScores(0, 0, 200)) == "Nothing matches.\nNote: one\n"


@pytest.mark.parametrize("width", [20, 40, 59, 60, 200])
def test_terminals_of_any_width(width: int):
    lines = shown(LONG, SHORT, width=width, notes=("a note of some length",)).splitlines()
    assert max(map(len, lines)) <= width
    assert any("rotated" in line for line in lines)


@pytest.mark.parametrize("terminal", [False, True])
def test_nothing_that_a_terminal_obeys_reaches_it(terminal: bool):
    evil = "a\x1b[2Jb\x07c\x9b31md\u202ee\x00f\rg"
    result = replace(
        LONG, source=evil, context_header=evil, snippet=snippet_of(evil, "b"), key={"k": evil},
        other_places=(Place("h", {}, evil, "", ""),), context=(Neighbour(1, "h", "", evil),),
    )  # fmt: skip
    text = shown(result, terminal=terminal, notes=(evil,))
    assert not set("\x07\x9b\u202e\x00\r") & set(text)
    assert "\x1b[2J" not in text
    assert "␛[2Jb" in text.replace("\x1b[1m", "").replace("\x1b[0m", "")
