"""A column of an adopted table: accepted with the model that filled it, refused with a guess else."""

import json

import numpy as np
import pytest

from embedding_assets.postgres.foreign.matching import take_vectors
from embedding_assets_tests.importing.conftest import adopt
from embedding_assets_tests.support.foreign import as_text, make_articles, other_model, sentences, vectors_of


@pytest.fixture(autouse=True)
def the_table(monkeypatch):
    monkeypatch.setenv("EMBEDDING_TABLE", "articles")


def test_the_right_model_is_accepted_and_edits_are_pending(run, taken, articles, beside, texts):
    before = beside.execute("SELECT md5(string_agg(vec::text, ',' ORDER BY id)) FROM articles").fetchone()
    report = taken("column", "public.articles.vec")
    assert (report["compared"], report["written"], report["differing"]) == (64, 80, [])
    assert report["lowest_cosine"] > 0.999
    assert "no table says" in report["remarks"][0]
    assert beside.execute("SELECT md5(string_agg(vec::text, ',' ORDER BY id)) FROM articles").fetchone() == before

    assert json.loads(run("embed", "--json", "--no-index")[1])["embedded"] == 0
    beside.execute("UPDATE articles SET body = 'Something else entirely' WHERE id = 3")
    beside.execute("INSERT INTO articles (id, body) VALUES (500, 'A new one')")
    assert json.loads(run("embed", "--json", "--no-index")[1])["embedded"] == 2

    again = taken("column", "articles.vec")
    assert (again["present"], again["written"]) == (81, 0)


def test_check_changes_nothing(run, taken, articles, beside):
    report = taken("column", "--column", "vec", "--check")
    assert (report["checked_only"], report["usable"], report["written"]) == (True, 80, 0)
    assert json.loads(run("spaces", "--json")[1]) == []


@pytest.mark.parametrize(
    ("spoil", "guess"),
    [
        (lambda settings, texts: other_model(vectors_of(settings, texts)), "of another model"),
        (lambda settings, texts: 3 * vectors_of(settings, texts), "each is 3 times as long"),
        (
            lambda settings, texts: vectors_of(settings, texts) * np.linspace(0.5, 4, len(texts))[:, None],
            "not made unit vectors",
        ),
        (
            lambda settings, texts: vectors_of(settings, [f"passage: {text}" for text in texts]),
            "EMBEDDING_DOCUMENT_PROMPT='passage: '",
        ),
        (
            lambda settings, texts: vectors_of(settings, [f"Title {n}" for n in range(len(texts))]),
            "They are of column title",
        ),
        (lambda settings, texts: vectors_of(settings, texts)[:, :384] * 2**0.5, "EMBEDDING_DIMENSIONS=384"),
    ],
    ids=["model", "scale", "lengths", "prompt", "column", "dimensions"],
)
def test_other_vectors_are_refused_with_a_guess(run, refused, settings, beside, texts, spoil, guess):
    make_articles(beside, texts, spoil(settings, texts).astype(np.float32))
    adopt(run)
    assert guess in refused("column")
    assert json.loads(run("spaces", "--json")[1]) == []


def test_a_prompt_of_ours_that_they_did_not_have_is_named(run, refused, articles, monkeypatch):
    monkeypatch.setenv("EMBEDDING_DOCUMENT_PROMPT", "passage: ")
    assert "without a prompt before the texts; set EMBEDDING_DOCUMENT_PROMPT=''" in refused("column")


def test_vectors_of_long_texts_that_were_cut_elsewhere(run, refused, settings, beside, monkeypatch):
    long = [" ".join(sentences(12, 7 * n)) for n in range(20)]
    texts = [*sentences(30), *long]
    make_articles(beside, texts, vectors_of(settings.with_embedding(max_seq_length=64), texts))
    adopt(run)
    assert "set EMBEDDING_MAX_SEQ_LENGTH to theirs" in refused("column")


def test_single_vectors_of_edited_texts_are_listed_and_left_to_be_embedded_again(run, taken, refused, articles, beside):
    beside.execute("ALTER TABLE articles DISABLE TRIGGER USER")
    beside.execute("UPDATE articles SET body = 'Edited after it was embedded ' || id WHERE id IN (5, 9)")
    beside.execute("UPDATE articles SET vec = array_fill(0, ARRAY[768])::vector WHERE id = 11")
    beside.execute("ALTER TABLE articles ENABLE ALWAYS TRIGGER zzz_embedding_assets_text_changed")

    assert "(1 zero_vector; keys 11)" in refused("column", "--sample", 100)
    beside.execute("UPDATE articles SET vec = NULL WHERE id = 11")
    said = refused("column", "--sample", 100)
    assert "2 of 79 vectors are not what" in said
    assert "--drop-differing" in said

    report = taken("column", "--sample", 100, "--drop-differing")
    assert (sorted(report["differing"]), report["dropped"], report["written"]) == (["5", "9"], 2, 77)
    assert beside.execute("SELECT array_agg(id ORDER BY id) FROM articles WHERE vec IS NULL").fetchone() == (
        [5, 9, 11],
    )
    assert json.loads(run("embed", "--json", "--no-index")[1])["embedded"] == 3


def test_vectors_of_zeros_are_taken_away(taken, articles, beside):
    beside.execute("UPDATE articles SET vec = array_fill(0, ARRAY[768])::vector WHERE id IN (1, 2)")
    report = taken("column", "--drop-differing")
    assert (report["refused"], report["dropped"], report["written"]) == ({"zero_vector": 2}, 2, 78)


def test_an_empty_or_another_column_is_refused(settings, run, refused, beside, texts):
    make_articles(beside, texts, None)
    adopt(run)
    assert "is empty: there is nothing to take over" in refused("column")
    assert "does not name a column" in refused("column", "articles")
    assert "are in column vec" in refused("column", "articles.title")
    assert "is not adopted yet" in refused("column", "pg_class.relname")


def test_a_column_of_another_space_is_refused(run, taken, refused, articles, monkeypatch):
    taken("column")
    monkeypatch.setenv("EMBEDDING_DOCUMENT_PROMPT", "passage: ")
    assert "belongs to space" in refused("column")


def test_a_vector_that_was_edited_since_it_was_looked_at_is_not_taken_away(articles, database, beside, settings, texts):
    old = vectors_of(settings, texts[:1])[0]
    beside.execute("UPDATE articles SET vec = %s WHERE id = 0", [as_text(-old)])
    assert take_vectors(database, "vec", [(("0",), old), (("1",), vectors_of(settings, texts[1:2])[0])]) == 1
    assert beside.execute("SELECT array_agg(id) FROM articles WHERE vec IS NULL").fetchone() == ([1],)
