"""What is said of a question that no word of the table fits."""

import pytest

from embedding_assets.retrieval import Searcher
from embedding_assets.retrieval.wording import has_words, names_something, note_on_no_match

SIGNS = "\U0001f511\U0001f511"


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("rotate", "EMBEDDING_SEARCH_LANGUAGE=english"),
        ("\u043a\u043b\u044e\u0447\u0438", "EMBEDDING_SEARCH_LANGUAGE=russian"),
        ("\u03bb\u03cc\u03b3\u03bf\u03c2", "EMBEDDING_SEARCH_LANGUAGE=greek"),
        (SIGNS, "neither a letter nor a digit"),
        ("& | !", "neither a letter nor a digit"),
        ("why ERR-40417", "EMBEDDING_SEARCH_LANGUAGE=english"),
    ],
)
def test_why_no_word_fits(question: str, words: str):
    assert words in note_on_no_match(question)


@pytest.mark.parametrize(
    "question", ["ERR-40417", "40417", "X1", "\u4ee3\u7406", "\u0e01\u0e38\u0e0d\u0e41\u0e08", "\uc5f4\uc1e0\ub97c"]
)
def test_what_has_no_other_forms_or_no_configuration(question: str):
    assert note_on_no_match(question) is None


def test_words_and_identifiers():
    assert all(map(has_words, ("a", "7", "\u4ee3")))
    assert not any(map(has_words, ("_", SIGNS, "?!")))
    assert all(map(names_something, ("ERR-40417", "see foo_bar.baz", "40417", "X-17")))
    plain = ("full-text search", "a/b", "open 24/7", "e.g. keys of the house", "it costs 12.5 percent", "18-year-old")
    assert not any(map(names_something, plain))


def test_an_answer_to_signs_alone(searcher: Searcher):
    for mode in ("hybrid", "vector"):
        answer = searcher.search(SIGNS, mode=mode)
        assert len(answer) == 5
        assert "neither a letter nor a digit; few models read other signs" in answer.notes[-1]
    answer = searcher.search(SIGNS, mode="text")
    assert answer.results == ()
    assert not any("LANGUAGE" in note for note in answer.notes)
    assert answer.notes
    assert searcher.search("text 7").notes == ()
