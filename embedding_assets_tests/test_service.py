"""Texts to vectors without a table."""

import asyncio
import copy
import json
import pickle
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from embedding_assets import EmbeddedVector, EmbeddedVectors, EmbeddingService, ProviderError
from embedding_assets.providers.base import EmbeddedBatch
from embedding_assets_tests.support.fakes import FAKE_SPACE, FakeProvider, vector_of


async def test_vectors_are_lists_in_the_order_of_the_texts():
    service = EmbeddingService(FakeProvider(batch_size=2))
    texts = [f"text {number}" for number in range(7)]
    vectors: list[list[float]] = await service.batch_generate(texts)
    assert isinstance(vectors, list)
    assert all(isinstance(vector, list) for vector in vectors)
    assert {type(number) for vector in vectors for number in vector} == {float}
    np.testing.assert_array_equal(np.array(vectors, dtype=np.float32), [vector_of(text) for text in texts])
    vector: list[float] = await service.generate("text 3")
    assert vector == vectors[3] == vectors[3][:]
    assert service.space == FAKE_SPACE


async def test_every_answer_says_its_space_and_is_a_list_to_everybody_else():
    service = EmbeddingService(FakeProvider())
    vectors, vector = await service.batch_generate(["a", "b"]), await service.generate("a")
    assert type(vectors) is EmbeddedVectors
    assert {type(each) for each in (*vectors, vector)} == {EmbeddedVector}
    assert {each.space for each in (vectors, *vectors, vector)} == {FAKE_SPACE}
    assert json.loads(json.dumps(vectors)) == vectors
    for again in (copy.deepcopy(vectors), pickle.loads(pickle.dumps(vectors))):
        assert again == vectors
        assert again.space == again[0].space == FAKE_SPACE


async def test_batches_in_any_order_are_put_in_order():
    class Backwards(FakeProvider):
        def embed(self, texts, *, query=False):
            return reversed(list(super().embed(texts, query=query)))

    vectors = await EmbeddingService(Backwards(batch_size=2)).batch_generate(["a", "b", "c", "d", "e"])
    np.testing.assert_array_equal(np.array(vectors, dtype=np.float32), [vector_of(text) for text in "abcde"])


async def test_no_texts_no_vectors_and_nobody_is_asked():
    class Untouchable(FakeProvider):
        def embed(self, texts, *, query=False):
            raise AssertionError("asked for nothing")

    vectors = await EmbeddingService(Untouchable()).batch_generate([])
    assert vectors == []
    assert vectors.space == FAKE_SPACE


@pytest.mark.parametrize("blank", ["", " \n\t"])
async def test_blank_texts_are_named_by_position(blank: str):
    provider = FakeProvider()
    service = EmbeddingService(provider)
    with pytest.raises(ValueError, match="text 1 of 3 is empty or blank"):
        await service.batch_generate(["a", blank, "b"])
    with pytest.raises(ValueError, match="text 0 of 1 is empty"):
        await service.generate(blank)
    assert provider.seen == []


def nan_at(row: int):
    def spoil(texts: list[str], batch: EmbeddedBatch) -> EmbeddedBatch:
        batch.vectors[row, 0] = np.nan
        return batch

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (nan_at(2), "text 2 of 3 cannot be embedded: not_finite"),
        (lambda _, b: replace(b, vectors=b.vectors * 2), "text 0 of 3 cannot be embedded: not_unit_length"),
        (lambda _, b: replace(b, vectors=b.vectors[:, :5]), "text 0 of 3 cannot be embedded: wrong_dimensions"),
        (lambda _, b: replace(b, vectors=b.vectors[:2]), "text 0 of 3 cannot be embedded: wrong_vector_count"),
        (
            lambda _, b: replace(
                b, indices=[0, 2], vectors=b.vectors[:2], token_counts=[1, 1], truncated=[False] * 2, errors={1: "bad"}
            ),
            "text 1 of 3 cannot be embedded: bad",
        ),
        (
            lambda _, b: replace(b, indices=[0, 2], vectors=b.vectors[:2], token_counts=[1, 1], truncated=[False] * 2),
            "text 1 of 3 cannot be embedded: no_vector",
        ),
        (lambda _, b: replace(b, indices=[0, 1, 1]), "answered for a text twice"),
        (lambda _, b: replace(b, indices=[0, 1, 3]), "or for none it was given"),
    ],
)
async def test_bad_vectors_are_refused_without_the_text(spoil, message: str):
    service = EmbeddingService(FakeProvider(spoil=spoil))
    with pytest.raises(ProviderError, match=message) as caught:
        await service.batch_generate(["canary one", "canary two", "canary three"])
    assert "canary" not in str(caught.value)


class SlowProvider(FakeProvider):
    def embed(self, texts, *, query=False):
        for batch in super().embed(texts, query=query):
            time.sleep(0.05)
            yield batch


async def test_the_event_loop_keeps_serving():
    service = EmbeddingService(SlowProvider(batch_size=1))
    work = asyncio.create_task(service.batch_generate(["a"] * 6))
    ticks = 0
    while not work.done():
        await asyncio.sleep(0.01)
        ticks += 1
    assert len(await work) == 6
    assert ticks >= 10


async def test_concurrent_calls_keep_apart_and_count_together():
    service = EmbeddingService(FakeProvider(batch_size=1))
    texts = [[f"call {call} text {number}" for number in range(20)] for call in range(8)]
    answers = await asyncio.gather(*(service.batch_generate(group) for group in texts))
    for group, vectors in zip(texts, answers, strict=True):
        np.testing.assert_array_equal(np.array(vectors, dtype=np.float32), [vector_of(text) for text in group])
    cost = service.get_cost()
    assert (cost.texts, cost.tokens, cost.usd) == (160, 640, 0.0)


async def test_calls_run_in_parallel_threads():
    meeting = threading.Barrier(2, timeout=60)

    def meet(texts: list[str], batch: EmbeddedBatch) -> EmbeddedBatch:
        meeting.wait()
        return batch

    service = EmbeddingService(FakeProvider(spoil=meet))
    await asyncio.gather(service.batch_generate(["a"]), service.batch_generate(["b"]))


async def test_a_question_is_embedded_as_one():
    class Asymmetric(FakeProvider):
        def embed(self, texts, *, query=False):
            return super().embed([f"{'query' if query else 'passage'}: {text}" for text in texts])

    service = EmbeddingService(Asymmetric())
    assert await service.generate("a") == (await service.batch_generate(["a"]))[0]
    question = await service.generate("a", query=True)
    assert [question] == await service.batch_generate(["a"], query=True)
    np.testing.assert_array_equal(np.float32(question), vector_of("query: a"))


@pytest.mark.parametrize(
    ("texts", "error", "message"),
    [
        ("abc", TypeError, "takes a list of texts, but was given one text; generate takes that"),
        (["a", None], TypeError, "text 1 of 2 is no text, but of type NoneType"),
        ([b"a"], TypeError, "text 0 of 1 is no text, but of type bytes"),
    ],
)
async def test_what_is_no_list_of_texts(texts, error, message):
    with pytest.raises(error, match=message):
        await EmbeddingService(FakeProvider()).batch_generate(texts)


async def test_a_closed_service_says_so():
    service = EmbeddingService(FakeProvider())
    service.close()
    with pytest.raises(RuntimeError, match="this EmbeddingService is closed"):
        await service.generate("a")


_FORK = """
import asyncio, os, sys, signal
from embedding_assets import EmbeddingService
service = EmbeddingService("local")
before = asyncio.run(service.generate("a text"))
child = os.fork()
if child == 0:
    signal.alarm(60)
    after = asyncio.run(service.generate("a text"))
    os._exit(0 if max(abs(x - y) for x, y in zip(before, after)) < 1e-4 else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_it_survives_a_fork(settings):
    done = subprocess.run([sys.executable, "-c", _FORK], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "0"
