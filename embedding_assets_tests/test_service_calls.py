"""Calls of the service side by side: gathered, cancelled, refused in part, and cut short by its end."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator

import numpy as np
import psycopg
import pytest

from embedding_assets import EmbeddedVector, EmbeddingService, errors
from embedding_assets.config import Settings
from embedding_assets.encoder.demo_model import NAME as DEMO_MODEL
from embedding_assets.postgres.connection import Database
from embedding_assets_tests.support.api_runs import configure, usage
from embedding_assets_tests.support.fakes import FAKE_SPACE, FakeProvider, vector_of
from embedding_assets_tests.support.fallbacks import Unsteady
from embedding_assets_tests.support.ledger_failures import unsettleable
from fake_api import dialects
from fake_api.answers import api_vector_of
from fake_api.server import ApiServer, Fault


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        yield server


@pytest.fixture
async def service(
    server: ApiServer, database: Database, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[EmbeddingService]:
    async with EmbeddingService("openai", configure(monkeypatch, server, openai_concurrency=4), database) as service:
        await service.generate("first")  # by which the limits, here none, are learned
        yield service


def assert_vector(outcome: object, text: str) -> None:
    assert isinstance(outcome, EmbeddedVector)
    np.testing.assert_allclose(outcome, api_vector_of(text), atol=1e-6)


async def until(condition) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


# Gathered


async def test_calls_side_by_side_are_one_request_over_the_connection_of_before(
    service: EmbeddingService, server: ApiServer
):
    texts = [f"text {number}" for number in range(64)]
    vectors = await asyncio.gather(*map(service.generate, texts))
    for text, vector in zip(texts, vectors, strict=True):
        assert_vector(vector, text)
    await service.generate("one more")
    assert [one.inputs for one in server.served] == [1, 64, 1]
    assert server.connections == 1
    assert service.get_cost().texts == 66


async def test_a_refused_text_concerns_its_caller_alone(service: EmbeddingService):
    texts = ["one", f"canary {Fault.REFUSED.marker}", "two"]
    outcomes = await asyncio.gather(*map(service.generate, texts), return_exceptions=True)
    assert_vector(outcomes[0], "one")
    assert_vector(outcomes[2], "two")
    assert isinstance(outcomes[1], errors.TextRefusedError)
    assert str(outcomes[1]) == "text 0 of 1 cannot be embedded: refused"


async def test_questions_and_documents_are_not_mixed():
    calls = []

    class Asymmetric(FakeProvider):
        def embed(self, texts, *, query=False):
            calls.append((query, len(texts)))
            return super().embed([f"{query}: {text}" for text in texts])

    service = EmbeddingService(Asymmetric())
    vectors = await asyncio.gather(*(service.generate("a", query=bool(number % 2)) for number in range(6)))
    assert sorted(calls) == [(False, 3), (True, 3)]
    for number, vector in enumerate(vectors):
        np.testing.assert_array_equal(np.float32(vector), vector_of(f"{bool(number % 2)}: a"))


async def test_a_local_model_s_are_one_batch(settings: Settings):
    service = EmbeddingService("local", settings.with_embedding(model_name=DEMO_MODEL))
    alone = [await service.generate(f"text {number}") for number in range(4)]
    together = await asyncio.gather(*(service.generate(f"text {number}") for number in range(4)))
    np.testing.assert_allclose(together, alone, atol=1e-2)
    service.close()


# Refused in part


async def test_what_is_embedded_is_returned_with_the_errors_of_the_rest(service: EmbeddingService, server: ApiServer):
    texts = [f"text {number}" for number in range(301)]
    texts[7], texts[200] = f"canary {Fault.REFUSED.marker}", " \n"
    outcomes = await service.batch_generate(texts, errors="return")
    assert len(outcomes) == 301
    for index, (text, outcome) in enumerate(zip(texts, outcomes, strict=True)):
        if index in (7, 200):
            assert isinstance(outcome, errors.TextRefusedError)
            assert (outcome.index, outcome.code) == (index, "refused" if index == 7 else "blank_text")
            assert str(outcome) == f"text {index} of 301 cannot be embedded: {outcome.code}"
        else:
            assert_vector(outcome, text)
    assert service.get_cost().texts == 1 + 299
    assert await service.batch_generate([], errors="return") == []
    with pytest.raises(ValueError, match="'raise' or 'return', not 'ignore'"):
        await service.batch_generate(["a"], errors="ignore")
    with pytest.raises(TypeError, match="text 0 of 1 is no text"):
        await service.batch_generate([None], errors="return")


async def test_what_was_embedded_before_an_outage_is_returned():
    service = EmbeddingService(Unsteady(batch_size=2, batches=2))
    outcomes = await service.batch_generate([f"text {number}" for number in range(6)], errors="return")
    assert [type(outcome) for outcome in outcomes] == [EmbeddedVector] * 4 + [errors.ProviderUnavailableError] * 2
    assert {outcome.space for outcome in outcomes[:4]} == {FAKE_SPACE}


# While the ledger fails


async def test_a_paid_answer_is_returned_though_the_ledger_fails(
    service: EmbeddingService, server: ApiServer, beside: psycopg.Connection, caplog: pytest.LogCaptureFixture
):
    with unsettleable(beside):
        assert_vector(await service.generate("paid"), "paid")
        assert "all vectors are there, but what followed failed" in caplog.text
        with pytest.raises(errors.DatabaseError):
            await service.generate("not sent")
    assert_vector(await service.generate("later"), "later")
    assert usage(beside)["settled"].tokens == server.billed_tokens == service.get_cost().tokens
    assert usage(beside).keys() == {"settled"}


# Cancelled


async def test_calls_that_time_out_free_their_slots(
    service: EmbeddingService, server: ApiServer, beside: psycopg.Connection
):
    server.faults.script.extend([Fault.HANG] * 4)
    hanging = [asyncio.create_task(service.batch_generate([f"hanging {number}"])) for number in range(4)]
    await until(lambda: server.in_flight == 4)
    unsent = [asyncio.create_task(service.batch_generate([f"unsent {number}"])) for number in range(4)]
    await asyncio.sleep(0.05)
    for task in (*hanging, *unsent):
        task.cancel()
    assert {type(one) for one in await asyncio.gather(*hanging, *unsent, return_exceptions=True)} == {
        asyncio.CancelledError
    }
    # Those four would take a minute to time out.
    async with asyncio.timeout(20):
        assert_vector(await service.generate("next"), "next")
        await until(lambda: "reserved" not in usage(beside))
    assert {state: one.requests for state, one in usage(beside).items()} == {"settled": 2, "presumed": 4}
    assert server.in_flight == 0
    assert not any("unsent" in text for text in server.seen)


async def test_a_gathered_call_ends_once_no_caller_waits(service: EmbeddingService, server: ApiServer):
    server.faults.script.append(Fault.HANG)
    tasks = [asyncio.create_task(service.generate(f"text {number}")) for number in range(3)]
    await until(lambda: server.in_flight == 1)
    for task in tasks:
        task.cancel()
    await until(lambda: server.in_flight == 0)
    assert_vector(await service.generate("next"), "next")


async def test_closing_waits_for_no_answer(server: ApiServer, database: Database, monkeypatch: pytest.MonkeyPatch):
    before = set(threading.enumerate())
    service = EmbeddingService("openai", configure(monkeypatch, server), database)
    server.faults.script.append(Fault.HANG)
    waiting = asyncio.create_task(service.generate("a"))
    await until(lambda: server.in_flight == 1)
    async with asyncio.timeout(20):
        await asyncio.to_thread(service.close)
        with pytest.raises(RuntimeError, match="was closed before there was an answer"):
            await waiting
    new = {thread.name for thread in set(threading.enumerate()) - before}
    assert not any(name.startswith(("background", "embedding", "ledger")) for name in new)


# Forked


_FORK = """
import asyncio, os, signal
from embedding_assets import EmbeddingService

async def embed(text):
    return len((await service.generate(text)))

service = EmbeddingService("openai")
assert asyncio.run(embed("a")) == 768
child = os.fork()
if child == 0:
    signal.alarm(60)
    assert asyncio.run(embed("of the child")) == 768
    service.close()
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert asyncio.run(embed("b")) == 768
service.close()
print("done")
"""


def test_a_fork_has_connections_of_its_own(server: ApiServer, settings: Settings, monkeypatch: pytest.MonkeyPatch):
    configure(monkeypatch, server)
    command = [sys.executable, "-W", "error", "-c", _FORK]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout, done.stderr) == ("done\n", "")
    assert [one.tokens for one in server.served] == [1, 3, 1]
    assert server.connections == 2


# Made on an event loop


def test_making_a_local_service_looks_at_no_file(settings: Settings):
    service = EmbeddingService("local", settings.with_embedding(model_name="someone/missing"))
    with pytest.raises(errors.ModelUnavailableError):
        asyncio.run(service.generate("a"))
    with pytest.raises(errors.ModelUnavailableError):
        _ = service.space
    service.close()


# What it costs


@pytest.mark.parametrize("fault", [Fault.NAN, Fault.WRONG_LENGTH, Fault.SHORT])
async def test_the_cost_of_a_call_that_failed_is_that_of_the_ledger(
    fault: Fault, service: EmbeddingService, server: ApiServer, beside: psycopg.Connection
):
    server.faults.script.extend([fault] * 1000)
    with pytest.raises(errors.ProviderError):
        await service.batch_generate([f"text {number}" for number in range(300)])
    spent = usage(beside).values()
    assert service.get_cost().texts == 1
    assert service.get_cost().tokens == sum(one.tokens for one in spent) > 300
    assert service.get_cost().usd == pytest.approx(float(sum(one.usd for one in spent)))


async def test_what_was_not_billed_does_not_count(
    service: EmbeddingService, server: ApiServer, beside: psycopg.Connection
):
    before = service.get_cost()
    for dialect in (dialects.LoginPage(), dialects.Refusing()):
        server.dialect = dialect
        with pytest.raises(errors.ProviderError):
            await service.batch_generate(["a", "b"])
    assert service.get_cost() == before
    assert {state: one.requests for state, one in usage(beside).items()} == {"settled": 1}


async def test_a_cancelled_call_of_any_provider_ends_with_its_batch():
    let, seen = threading.Event(), []

    class Waiting(FakeProvider):
        def embed(self, texts, *, query=False):
            for batch in super().embed(texts, query=query):
                seen.append(batch.indices)
                let.wait(180)
                yield batch

    service = EmbeddingService(Waiting(batch_size=1))
    work = asyncio.create_task(service.batch_generate(["a"] * 100))
    await until(lambda: seen)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    let.set()
    await asyncio.to_thread(service.close)
    assert seen == [[0]]
