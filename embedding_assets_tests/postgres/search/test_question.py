"""A question's words, before PostgreSQL splits them."""

import pytest

from embedding_assets.postgres.search.question import words_of


@pytest.mark.parametrize(
    ("question", "compounds"),
    [
        ("What does ERR-40417 mean?", ("ERR-40417",)),
        ("see foo_bar.baz, v2.13.0.", ("v2.13.0", "foo_bar.baz")),
        ("plain words only - and a dash", ()),
        ("https://example.org/a?b=c", ("https://example.org/a", "b=c")),
        ("-1 _x_ a--b", ("a--b",)),
        ("", ()),
    ],
)
def test_words_that_are_held_together(question, compounds):
    assert words_of(question).compounds == compounds


@pytest.mark.parametrize(
    ("question", "identifiers"),
    [
        ("What does ERR-40417 mean?", ("ERR-40417",)),
        ("the code 40417, ABX0042 or foo_bar.baz", ("foo_bar.baz", "40417", "ABX0042")),
        ("is it in C:\\ABX\\4711.dll or std::vector", ("C:\\ABX\\4711.dll", "std::vector")),
        ("18-year-old patients with COVID-19 in the 1990s, and/or 2019, e.g. 500mg 24/7 or 20000 on Wi-Fi", ()),
        ("1a-111 2a-222 3a-333 4a-444", ()),
    ],
)
def test_names_that_are_no_plain_language(question, identifiers):
    assert words_of(question).identifiers == identifiers


def test_what_cannot_be_stored_is_a_blank():
    assert words_of("a\x00b\ud800c").text == "a b c"


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("代理", " 代理 "),
        ("在代理后面用Python", " 在代 代理 理后 后面 面用 Python"),
        ("水 pump", " 水  pump"),
        ("ประเทศ", " ปร ระ ะเ เท ทศ "),
        ("U\u0308bermaß", "Übermaß"),
    ],
)
def test_scripts_without_spaces_are_pairs_of_letters_and_letters_are_composed(question, text):
    words = words_of(question)
    assert (words.text, words.as_asked) == (text, question)


def test_an_identifier_amid_letters_without_spaces():
    assert words_of("型号ERR-40417在哪里").identifiers == ("ERR-40417",)


def test_beginnings_are_those_of_lexemes():
    assert words_of("Where are Two_Words, ERR-40417?").beginnings == {"wh", "ar", "tw", "wo", "er", "40"}


@pytest.mark.parametrize("unit", ["x", "x-", "-", "a_", "1.", " a-b"])
def test_a_long_question_takes_no_longer_than_its_length(unit):
    # What is tried from every place again would take minutes.
    assert len(words_of(unit * 100_000).text) == 100_000
