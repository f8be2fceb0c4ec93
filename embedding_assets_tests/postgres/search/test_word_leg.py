"""Chunks are found by their words: rare ones first, whatever characters a question has."""

import random
import string

import pytest
from pgvector import Vector

from embedding_assets.config import IndexConfig
from embedding_assets.errors import ConfigurationError
from embedding_assets.postgres.conditions import conditions_of
from embedding_assets.postgres.search import find_chunks, word_leg
from embedding_assets.postgres.search_indexes import WordIndex, build_search_indexes
from embedding_assets_tests.support.fakes import hash_of, insert_chunks
from embedding_assets_tests.support.searching import identifiers
from embedding_assets_tests.support.tables import PlanRecorder, insert_vectors, unit_vectors

FILLER = [
    "the server reads its configuration from a file and reloads it when asked",
    "an error in the request is answered with a code and a short text",
    "set the limit of connections before the pool is opened",
    "a part of the table is kept in memory while it is searched",
]


def find(database, words, *, limit=5, language="simple", where=(), **more):
    return find_chunks(
        database, column=more.pop("column", None), vector=more.pop("vector", None), words=words, limit=limit,
        where=conditions_of(where), index=IndexConfig(), language=language, **more,
    )  # fmt: skip


def texts(found) -> list[str]:
    return [chunk.text for chunk in found.chunks]


@pytest.fixture(params=["read", "indexed"])
def manner(request, monkeypatch):
    """Whether all texts are split for each question, or are found by the index of words; call it with rows in place."""

    def prepare(database):
        if request.param == "indexed":
            build_search_indexes(database, "simple")

    return prepare


@pytest.mark.uncovered
def test_two_hundred_identifiers_are_each_found_first(database, manner):
    named = identifiers(200)
    rows = {name: f"{FILLER[number % 4]}; see {name}, or ask" for number, name in enumerate(named)}
    insert_chunks(database, [*rows.values(), *FILLER, *(f"{one} and more" for one in FILLER)])
    manner(database)
    for name, text in rows.items():
        for question in (name, f"What does {name} mean?", f"the server answers with '{name}'.", f"({name})"):
            found = find(database, question)
            assert texts(found)[0] == text, question
            assert not found.notes
        assert find(database, name).chunks[0].holds_all_words


def test_an_identifier_is_found_among_vectors_too(database, column, manner, execute):
    hashes = insert_vectors(database, column, unit_vectors(60))
    execute("UPDATE knowledge_base SET chunk_text = 'the code is ERR-40417' WHERE chunk_hash = %s", hashes[17])
    vectors = unit_vectors(60)
    execute(f"UPDATE knowledge_base SET {column.name} = %s WHERE chunk_hash = %s", Vector(vectors[17]), hashes[17])
    manner(database)
    found = find(database, "what is ERR-40417", column=column, vector=vectors[3])
    by_hash = {chunk.chunk_hash: chunk for chunk in found.chunks}
    assert by_hash[hashes[17]].text_rank == 1
    assert by_hash[hashes[3]].vector_rank == 1
    assert found.chunks[0].chunk_hash == hashes[17]  # both legs have it
    assert by_hash[hashes[17]].distance == pytest.approx(1 - vectors[3] @ vectors[17], abs=1e-5)


def place_of(found, chunk_hash) -> int:
    return [chunk.chunk_hash for chunk in found.chunks].index(chunk_hash)


def test_a_row_with_the_identifier_asked_for_stands_before_those_that_both_legs_find(database, column, manner):
    vectors = unit_vectors(60)
    insert_vectors(database, column, vectors)  # "text 0", …
    [named] = insert_chunks(database, ["the code ERR-40417 is in no vector so far"])
    manner(database)
    ask = {"column": column, "vector": vectors[3], "limit": 10}
    found = find(database, "text 3: ERR-40417", **ask)
    assert place_of(found, named) == 0
    assert found.chunks[0].is_named
    assert found.chunks[1].vector_rank == 1
    assert not any(chunk.is_named for chunk in found.chunks[1:])
    # Plain language is ranked by both.
    assert place_of(find(database, "text 3: the code", **ask), named) > 0
    # By words alone their own ranks count.
    assert not any(chunk.is_named for chunk in find(database, "text 3: ERR-40417").chunks)


def test_an_identifier_that_many_rows_have_is_a_word_as_any_other(database, column, manner):
    vectors = unit_vectors(60)
    insert_vectors(database, column, vectors)
    insert_chunks(database, [f"the code ERR-40417 in room {number}" for number in range(4)])
    manner(database)
    found = find(database, "text 3: ERR-40417", column=column, vector=vectors[3], limit=10)
    assert not any(chunk.is_named for chunk in found.chunks)
    assert found.chunks[0].vector_rank == 1


def test_a_row_without_a_vector_is_found_by_its_words(database, column, manner):
    insert_vectors(database, column, unit_vectors(60))
    insert_chunks(database, ["only words so far: zebra"])
    manner(database)
    found = find(database, "zebra", column=column, vector=unit_vectors(1)[0])
    [chunk] = [chunk for chunk in found.chunks if chunk.text_rank == 1]
    assert (chunk.text, chunk.distance, chunk.vector_rank) == ("only words so far: zebra", None, None)
    assert chunk.holds_all_words
    assert len(found.chunks) == 5


def test_rare_words_weigh_more_than_common_ones(database, manner):
    insert_chunks(database, [f"common words about number {number}" for number in range(300)])
    insert_chunks(
        database, ["rare giraffe", "common words about numbers common words", "a giraffe stands " + "beside trees " * 9]
    )
    manner(database)
    best = texts(find(database, "common words about a giraffe"))
    assert best[0] == "rare giraffe"  # of which it is more than of a long text
    assert best[1].startswith("a giraffe")
    assert best[2].startswith("common")


@pytest.mark.parametrize(
    ("text", "questions"),
    [
        ("如何在公司代理后面安装软件。", ["代理", "在代理后面怎么安装?", "公司代理", "软"]),
        ("東京タワーの高さは333メートルです", ["タワー", "東京タワーの高さ", "333"]),
        ("ประเทศไทยมีอากาศร้อน", ["อากาศ", "ประเทศไทย"]),
        ("das U\u0308bermaß an Arbeit", ["Übermaß", "u\u0308bermaß", "ÜBERMASS übermaß"]),
        ("ο λόγος του", ["λόγος", "ΛΌΓΟΣ", "λο\u0301γος"]),  # noqa: RUF001
        ("使用Python代理", ["python", "代理"]),
    ],
)
def test_words_of_any_script_and_form_are_found(database, manner, text, questions):
    insert_chunks(database, [text, "代码 原理 公园 人后", "京都 高い", "ประชาชน", *FILLER])
    manner(database)
    for question in questions:
        assert texts(find(database, question))[:1] == [text], question


def test_letters_that_stand_apart_are_no_word(database, manner):
    insert_chunks(database, ["代码的原理", *FILLER])
    manner(database)
    assert texts(find(database, "代理")) == []


def test_the_longest_texts_of_such_scripts_can_be_stored(database, execute):
    build_search_indexes(database, "simple")
    insert_chunks(database, ["".join(chr(0x4E00 + (n * n + n // 7) % 20_000) for n in range(150_000)) + "代理"])
    assert execute("SELECT count(*) FROM knowledge_base") == [(1,)]


def test_a_database_of_another_encoding(database):
    table = database.table
    other = WordIndex(table, "pg_catalog.simple", ("chunk_text",), is_unicode=False)
    assert "normalize" not in other.vector().as_string()
    assert other.name != WordIndex(table, "pg_catalog.simple", ("chunk_text",)).name


def test_common_words_alone_find_something(database, manner, monkeypatch):
    monkeypatch.setattr(word_leg, "LOOKED_UP", 40)
    monkeypatch.setattr("embedding_assets.postgres.search.common_words._FEWEST_ROWS", 40)
    insert_chunks(database, [f"the server is number {number}" for number in range(200)])
    insert_chunks(database, [f"the client is number {number}" for number in range(70)])
    insert_chunks(database, ["the client asks a server", "the zebra"])
    manner(database)
    found = find(database, "the server of a client", limit=3)
    assert texts(found)[0] == "the client asks a server"
    assert texts(find(database, "the zebra"))[0] == "the zebra"
    assert len(find(database, "the is number").chunks) == 5


@pytest.mark.parametrize(
    ("question", "wrong"),
    [
        ("How long may a bill stay open?", "she rented a car, and how"),
        ("Find a bill", "she rented a car"),
        ("Wie lange darf eine Rechnung offen bleiben?", "er hat eine Katze"),
    ],
    ids=["english", "a short one alone", "german"],
)
def test_a_stop_word_that_few_rows_have_puts_no_row_first(database, column, manner, execute, question, wrong):
    vectors = unit_vectors(33)
    hashes = insert_vectors(database, column, vectors)
    for place, text in [(3, "an invoice is due within thirty days"), (5, wrong)]:
        execute("UPDATE knowledge_base SET chunk_text = %s WHERE chunk_hash = %s", text, hashes[place])
        execute(
            f"UPDATE knowledge_base SET {column.name} = %s WHERE chunk_hash = %s", Vector(vectors[place]), hashes[place]
        )
    manner(database)
    assert find(database, question, column=column, vector=vectors[3]).chunks[0].chunk_hash == hashes[3]
    assert texts(find(database, question)) == []


def test_stop_words_weigh_little_beside_others(database, manner):
    insert_chunks(database, ["a how may the", "an open bill", "how and when a bill", *FILLER])
    manner(database)
    best = texts(find(database, "How is a bill kept open?"))
    assert best[:2] == ["an open bill", "how and when a bill"]
    assert "a how may the" not in best


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("the a of", "a tale of the sea"),
        ("world war", "a long war"),  # German's war is no reason
        ("bin", "the bin is full"),
        ("who guidelines", "advice of the who"),
        ("vitamin C", "the language c"),
        ("what does is_in return?", "call is_in"),
    ],
)
def test_words_that_may_be_none_of_a_sentence_find_their_rows(database, manner, question, text):
    insert_chunks(database, [text, *FILLER])
    manner(database)
    assert text in texts(find(database, question))


HOSTILE = [
    "", " ", "\n\t", "the a of", "😀 🎉 👩", "!!! ??? ...", "'", '"', "\\", "a & b | !c", ":* <-> (", "foo:*",
    "' OR 1=1 --", "%s %(words)s {} {0}", "a\x00b", "\ud800 lone", "x\udcffy", "https://example.org/a?b=c&d=%20#e",
    "List<String> a;",
    "<b>bold</b> &amp; &#65;", "if (a && b) { return !c; }", "$1 $$ $tag$", "日本語の質問", "ünïcödé ẞ İ", "\u202e rtl",
    "ab" * 5000, "-1 +2 1e5 1.5e-3 0x1F", "a'b''c", "E'\\n'", "NULL", "\x1b[31mred",
]  # fmt: skip


@pytest.mark.parametrize("question", HOSTILE, ids=range(len(HOSTILE)))
def test_no_question_is_an_error(database, manner, column, question):
    vectors = unit_vectors(30)
    insert_vectors(database, column, vectors)
    insert_chunks(database, ["some text"])
    manner(database)
    assert len(find(database, question, column=column, vector=vectors[0]).chunks) == 5
    found = find(database, question)
    assert all(chunk.text_rank for chunk in found.chunks)


@pytest.mark.parametrize("unit", ["word{} ", "x", "a-{} ", "é{} ", "日", "' {}"])
def test_a_question_of_a_hundred_thousand_characters(database, manner, unit):
    insert_chunks(database, ["word7 is here", *FILLER])
    manner(database)
    question = "".join(unit.format(number) for number in range(100_000 // len(unit) + 1))[:100_000]
    find(database, question)
    found = find(database, f"word7 {question}")
    assert "word7 is here" in texts(found)


def test_other_forms_of_a_word_in_a_language(database):
    insert_chunks(database, ["He installed the servers", "Nothing of the kind"])
    assert texts(find(database, "installing a server", language="english")) == ["He installed the servers"]
    assert texts(find(database, "installing a server")) == []
    assert find(database, "the of", language="english").notes == (
        "the question has no word to search for, so that its words found nothing",
    )


def test_an_unknown_language_names_those_there_are(database):
    insert_chunks(database, ["a"])
    with pytest.raises(
        ConfigurationError, match=r"EMBEDDING_SEARCH_LANGUAGE=klingon is no .* there are .*english.*simple"
    ):
        find(database, "a", language="klingon")
    assert texts(find(database, "a", language="pg_catalog.simple")) == ["a"]


def test_words_are_looked_up_by_the_index(database, execute):
    insert_chunks(
        database, [f"{' '.join(random.Random(n).choices(string.ascii_lowercase, k=9))} w{n}" for n in range(900)]
    )
    build_search_indexes(database, "simple")
    recorder = PlanRecorder(database)
    assert len(find(recorder, "a w17 b").chunks) == 5
    assert "Bitmap Index Scan on idx_knowledge_words_" in recorder.plan
    assert "Seq Scan on knowledge_base" not in recorder.plan
    assert texts(find(database, "w17", where=["source is null"]))[0].endswith("w17")


def test_ties_are_in_the_order_of_hashes(database, column, manner, execute):
    same = unit_vectors(1)[0]
    hashes = insert_vectors(database, column, [same] * 40)
    execute("UPDATE knowledge_base SET chunk_text = 'the same text'")
    execute(f"UPDATE knowledge_base SET {column.name} = %s", Vector(same))  # which an edit takes away
    manner(database)
    first = find(database, "same text", column=column, vector=same, limit=10)
    assert [chunk.chunk_hash for chunk in first.chunks] == sorted(hashes)[:10]
    assert find(database, "same text", column=column, vector=same, limit=10) == first


def test_as_many_as_there_are(database, column, manner):
    vectors = unit_vectors(300)
    insert_vectors(database, column, vectors)
    insert_chunks(database, [f"word {number}" for number in range(50)])
    manner(database)
    found = find(database, "word text", column=column, vector=vectors[0], limit=1000)
    assert len(found.chunks) == 350
    assert len({chunk.chunk_hash for chunk in found.chunks}) == 350
    assert len(find(database, "word", limit=1000).chunks) == 50


def test_a_filter_holds_of_what_words_find(database, manner, execute):
    insert_chunks(database, [f"zebra number {number}" for number in range(700)])
    execute(
        'UPDATE knowledge_base SET document_metadata = \'{"lang": "de"}\' WHERE chunk_hash = ANY(%s)',
        [hash_of(f"zebra number {number}") for number in (3, 5)],
    )
    manner(database)
    assert sorted(texts(find(database, "zebra", where=["lang=de"]))) == ["zebra number 3", "zebra number 5"]
    assert texts(find(database, "number 5", where=["lang=de"]))[0] == "zebra number 5"
    assert len(find(database, "zebra", where=["lang!=de"], limit=1000).chunks) == 698


def test_neither_words_nor_vector_finds_nothing(database):
    insert_chunks(database, ["a"])
    assert find(database, None).chunks == ()
