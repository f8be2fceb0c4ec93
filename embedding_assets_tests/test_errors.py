"""Errors cross processes whole."""

import pickle
from decimal import Decimal

import pytest

from embedding_assets import errors
from embedding_assets.errors import BudgetExceededError, EmbeddingAssetsError, TableRefusesError, TextRefusedError


def all_errors(of: type[EmbeddingAssetsError] = EmbeddingAssetsError) -> list[type[EmbeddingAssetsError]]:
    return [
        of,
        *(found for child in of.__subclasses__() if child.__module__ == errors.__name__ for found in all_errors(child)),
    ]


@pytest.mark.parametrize("kind", all_errors())
def test_an_error_can_be_sent_to_another_process(kind: type[EmbeddingAssetsError]):
    error = kind(1, 2, "too_long") if kind is TextRefusedError else kind("what to do")
    error.add_note("3 of 5 are left")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.__notes__) == (kind, str(error), ["3 of 5 are left"])


def test_with_what_it_carries():
    refused = pickle.loads(pickle.dumps(TableRefusesError("none fits", frozenset({"ab"}))))
    assert (str(refused), refused.refused) == ("none fits", {"ab"})
    exceeded = pickle.loads(pickle.dumps(BudgetExceededError("no more", left_usd=Decimal("0.5"))))
    assert exceeded.left_usd == Decimal("0.5")
