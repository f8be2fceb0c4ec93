"""What is let through from a provider, and what is not."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedding_assets.errors import ProviderError
from embedding_assets.providers.base import EmbeddedBatch, embed_checked
from embedding_assets_tests.support.fakes import FAKE_SPACE, FakeProvider, vector_of


class Answering(FakeProvider):
    """Gives fixed answers, whatever it is asked."""

    def __init__(self, *batches: EmbeddedBatch) -> None:
        super().__init__()
        self._batches = batches

    def embed(self, texts: Sequence[str], *, query: bool = False) -> Iterator[EmbeddedBatch]:
        yield from self._batches


def batch(*indices: int, errors: dict[int, str] | None = None, spoilt: Sequence[int] = ()) -> EmbeddedBatch:
    vectors = np.array([vector_of(str(index)) for index in indices], dtype=np.float32).reshape(-1, 768)
    for row, index in enumerate(indices):
        if index in spoilt:
            vectors[row] = 0
    return EmbeddedBatch(list(indices), vectors, [1] * len(indices), [False] * len(indices), errors or {})


def outcome(texts: int, *batches: EmbeddedBatch) -> tuple[dict[int, bytes], dict[int, str]]:
    vectors: dict[int, bytes] = {}
    errors: dict[int, str] = {}
    for checked in embed_checked(Answering(*batches), ["text"] * texts):
        assert len(checked.vectors) == len(checked.token_counts) == len(checked.truncated) == len(checked.indices)
        vectors |= {index: checked.vectors[row].tobytes() for row, index in enumerate(checked.indices)}
        errors |= checked.errors
    return vectors, errors


@given(st.data(), st.integers(0, 12))
def test_every_text_ends_with_its_vector_or_an_error(data: st.DataObject, texts: int):
    order = data.draw(st.permutations(range(texts)))
    answered = order[: data.draw(st.integers(0, texts))]
    failed = data.draw(st.sets(st.sampled_from(answered))) if answered else set()
    spoilt = data.draw(st.sets(st.sampled_from(answered))) - failed if answered else set()
    middle = len(answered) // 2
    batches = [
        batch(
            *(i for i in part if i not in failed), errors={i: "odd" for i in part if i in failed}, spoilt=list(spoilt)
        )
        for part in (answered[:middle], answered[middle:])
    ]
    vectors, errors = outcome(texts, *batches)
    assert errors == {
        **dict.fromkeys(failed, "odd"),
        **dict.fromkeys(spoilt, "zero_vector"),
        **dict.fromkeys(set(range(texts)) - set(answered), "no_vector"),
    }
    assert vectors == {i: vector_of(str(i)).tobytes() for i in answered if i not in failed | spoilt}


@pytest.mark.parametrize(
    "batches",
    [
        [batch(0, 0)],
        [batch(0), batch(0)],
        [batch(0, errors={0: "odd"})],
        [batch(0), batch(errors={0: "odd"})],
        [batch(3)],
        [batch(-1)],
        [batch(errors={3: "odd"})],
    ],
)
def test_contradictory_answers(batches: list[EmbeddedBatch]):
    with pytest.raises(ProviderError, match="provider fake answered for a text twice or for none it was given"):
        outcome(3, *batches)


def test_a_good_batch_is_passed_on_as_it_is():
    good = batch(0, 1)
    assert list(embed_checked(Answering(good), ["a", "b"])) == [good]


def test_empty_batches_and_no_texts():
    assert outcome(0) == ({}, {})
    assert outcome(0, batch()) == ({}, {})
    empty = EmbeddedBatch([], np.empty(0, dtype=np.float32), [], [])
    assert outcome(1, empty, batch(0))[1] == {}
    assert FAKE_SPACE.dimensions == 768
