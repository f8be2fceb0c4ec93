"""What may be asked."""

import numpy as np
import pytest

from embedding_assets.errors import ConfigurationError
from embedding_assets.retrieval import Question


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"text": ""}, "the query is empty"),
        ({"text": " \n"}, "the query is empty"),
        ({"text": "\x00\x00"}, "no character that is text"),
        ({"text": "\udcff"}, "no character that is text"),
        ({"k": 0}, "k is 0, but a search returns at least 1 chunk"),
        ({"k": -1}, "k is -1"),
        ({"k": 1001}, "at most 1,000 chunks"),
        ({"mode": "fuzzy"}, "mode is 'fuzzy', but there are hybrid, vector, text"),
        ({"min_score": float("nan")}, "min_score is nan"),
        ({"min_score": float("inf")}, "min_score is inf"),
        ({"context": -1}, "context is -1, but 0 to 10 neighbours"),
        ({"context": 11}, "context is 11"),
        ({"ef_search": 0}, "ef_search is 0, but pgvector takes 1 to 1,000"),
        ({"ef_search": 1001}, "ef_search is 1001"),
        ({"text": None}, "the query is NoneType, but it must be a text"),
        ({"text": 5}, "the query is int"),
        ({"text": b"keys"}, "the query is bytes"),
        ({"space": 5}, "the space is int"),
        ({"k": "3"}, "k is '3', but it must be a whole number"),
        ({"k": 2.5}, r"k is 2\.5"),
        ({"k": True}, "k is True"),
        ({"k": None}, "k is None"),
        ({"context": "1"}, "context is '1'"),
        ({"ef_search": 40.0}, r"ef_search is 40\.0"),
        ({"mode": 5}, "mode is 5"),
        ({"min_score": "0.5"}, r"min_score is '0\.5', but it must be a number"),
        ({"min_score": True}, "min_score is True"),
        ({"where": "price<10"}, "where is not a tuple of conditions"),
        ({"where": ("price<10",)}, "where is not a tuple of conditions"),
    ],
)
def test_what_cannot_be_asked(values: dict[str, object], message: str):
    with pytest.raises(ConfigurationError, match=message):
        Question(**{"text": "a", **values})


def test_numbers_of_other_libraries():
    question = Question("a", k=np.int64(3), min_score=np.float32(0.5))
    assert (question.k, question.min_score) == (3, 0.5)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("keys", "keys"),
        ("ro\x00tate", "ro tate"),
        ("caf\udce9 au lait", "caf  au lait"),  # an argument in Latin-1, as Python has it
        ("\udcff\udcfekeys\x00", "keys"),
        ("🔑🔑", "🔑🔑"),
        ("'; DROP TABLE x; --", "'; DROP TABLE x; --"),
    ],
)
def test_what_neither_model_nor_database_reads_is_left_out(text: str, plain: str):
    question = Question(text)
    assert question.plain_text == plain
    assert question.is_cut == (text != plain)
