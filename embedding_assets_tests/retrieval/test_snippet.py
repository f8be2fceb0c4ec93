"""The part of a text that is shown."""

import time

import pytest

from embedding_assets.retrieval.snippet import Snippet, snippet_of


def marked(text: str, question: str, **options: int) -> list[str]:
    snippet = snippet_of(text, question, **options)
    return [snippet.text[start:end] for start, end in snippet.marks]


@pytest.mark.parametrize(
    ("text", "question", "words"),
    [
        ("Keys are rotated every 90 days.", "how do I rotate keys?", ["Keys", "rotated"]),
        ("Rotating a key takes a minute.", "rotate keys", ["Rotating", "key"]),
        ("An error: ERR-40417 (fatal).", "ERR-40417", ["ERR", "40417"]),
        ("The straße is long. STRASSE", "Strasse", ["straße", "STRASSE"]),
        ("Über alles; über", "ÜBER", ["Über", "über"]),
        ("the cat and the dog", "the and", ["the", "and", "the"]),  # no other word to mark
        ("the cat and the dog", "the dog", ["dog"]),
        ("category of cats", "cat", ["cats"]),
        ("40 400 4041", "404", []),
        ("nothing of it", "something else", []),
        ("any", "🔑 && || !", []),
        ("鍵を交換する方法", "鍵の交換", ["交換"]),
        ("密钥轮换的方法", "轮换密钥", ["密钥", "轮换"]),
    ],
)
def test_words_are_marked(text: str, question: str, words: list[str]):
    assert marked(text, question) == words


def test_a_short_text_is_whole_and_on_one_line():
    assert snippet_of("  two\n\n lines\t here ", "x") == Snippet("two lines here")
    assert snippet_of("", "x") == Snippet("")


def test_the_part_with_most_different_words_is_shown():
    filler = "word " * 200
    text = f"keys keys keys {filler}how keys are rotated safely {filler}"
    snippet = snippet_of(text, "rotate keys safely", characters=100)
    assert [snippet.text[start:end] for start, end in snippet.marks] == ["keys", "rotated", "safely"]
    assert snippet.text.startswith("… ")
    assert snippet.text.endswith(" …")
    assert len(snippet.text) <= 104
    assert all(word in text.split() for word in snippet.text.strip("… ").split()), "words are whole"


def test_without_any_of_the_words_the_beginning_is_shown():
    snippet = snippet_of("word " * 200, "else", characters=100)
    assert snippet.text.startswith("word word")
    assert snippet.text.endswith("word …")
    assert snippet.marks == ()


def test_a_text_without_blanks_is_cut_all_the_same():
    snippet = snippet_of("x" * 1000, "else", characters=100)
    assert len(snippet.text) <= 104
    snippet = snippet_of("a" * 500 + " needle " + "b" * 500, "needle", characters=100)
    assert [snippet.text[start:end] for start, end in snippet.marks] == ["needle"]
    assert len(snippet.text) <= 110


def test_a_word_longer_than_the_snippet():
    assert snippet_of("y " + "x" * 500, "x" * 500, characters=100).text.startswith("y")


def test_large_texts_and_questions_take_no_time():
    started = time.process_time()
    snippet_of("keys and rotation of keys " * 40_000, "rotation of keys " * 6_000)
    assert time.process_time() - started < 60, "not a square of it"
