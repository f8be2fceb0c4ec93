"""Coroutines whose results a plain iterator gives."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, closing, suppress
from contextvars import ContextVar

import pytest

from embedding_assets.postgres.interruption import stopped_by
from embedding_assets.providers.cancelling import CallCancelledError, cancellable
from embedding_assets.providers.openai.background import Background, Emit

number: ContextVar[int] = ContextVar("number", default=0)


opened: list[str] = []


@asynccontextmanager
async def resource() -> AsyncIterator[str]:
    opened.append("opened")
    yield "resource"
    opened.append("closed")


@pytest.fixture
def background() -> Iterator[Background[str]]:
    opened.clear()
    before = set(threading.enumerate())
    background = Background(resource)
    yield background
    background.close()
    assert set(threading.enumerate()) <= before
    assert opened in ([], ["opened", "closed"])


def counting(count: int, seen: list[str] | None = None, *, fail: BaseException | None = None):
    seen = [] if seen is None else seen

    async def produce(_: str, emit: Emit[int]) -> None:
        try:
            for value in range(count):
                await emit(value)
                seen.append(f"emitted {value}")
            if fail:
                raise fail
        except asyncio.CancelledError:
            seen.append("cancelled")
            await asyncio.sleep(0)
            seen.append("tidied up")
            raise

    return produce


def test_results_come_in_order(background: Background[str]):
    assert list(background.iterate(counting(1000), most_waiting=3)) == list(range(1000))
    assert list(background.iterate(counting(0), most_waiting=1)) == []


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), asyncio.CancelledError()])
def test_what_is_raised_comes_after_the_results(error: BaseException, background: Background[str]):
    results = background.iterate(counting(2, fail=error), most_waiting=9)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(type(error)):
        next(results)


def test_no_more_is_produced_than_may_wait(background: Background[str]):
    seen: list[str] = []
    with closing(background.iterate(counting(100, seen), most_waiting=2)) as results:
        assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    assert 5 <= len([line for line in seen if line.startswith("emitted")]) <= 7
    assert seen[-2:] == ["cancelled", "tidied up"]


def test_nothing_runs_before_it_is_asked_for(background: Background[str]):
    seen: list[str] = []
    results = background.iterate(counting(1, seen), most_waiting=1)
    results.close()
    assert seen == []


def test_closing_after_the_end_is_harmless(background: Background[str]):
    results = background.iterate(counting(1), most_waiting=1)
    assert list(results) == [0]
    results.close()


def test_dropping_the_iterator_closes_it(background: Background[str]):
    seen: list[str] = []
    results = background.iterate(counting(100, seen), most_waiting=1)
    next(results)
    del results
    assert seen[-1] == "tidied up"


def test_who_waits_in_vain_is_stopped_by_what_stops_the_work(background: Background[str], monkeypatch):
    monkeypatch.setattr("embedding_assets.providers.openai.background._LOOK_SECONDS", 0.05)
    ended: list[str] = []

    class Stopped(BaseException):
        pass

    async def outage(_: str, __: Emit[int]) -> None:
        try:
            await asyncio.sleep(600)
        finally:
            ended.append("tidied up")

    def stop() -> None:
        raise Stopped

    with stopped_by(stop), pytest.raises(Stopped):
        list(background.iterate(outage, most_waiting=1))
    assert ended == ["tidied up"]


def test_the_callers_context_is_seen(background: Background[str]):
    async def produce(_: str, emit: Emit[int]) -> None:
        await emit(number.get())

    token = number.set(7)
    try:
        assert list(background.iterate(produce, most_waiting=1)) == [7]
    finally:
        number.reset(token)


FORK = """
import asyncio, os
from contextlib import asynccontextmanager
from embedding_assets.providers.openai.background import Background

@asynccontextmanager
async def resource():
    yield os.getpid()

background = Background(resource)

async def produce(pid, emit):
    assert pid == os.getpid()
    for value in range(100):
        await emit(value)
        await asyncio.sleep(0.001)

results = background.iterate(produce, most_waiting=2)
assert next(results) == 0
child = os.fork()
if child == 0:
    results.close()
    assert list(background.iterate(produce, most_waiting=2)) == list(range(100))
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert list(results) == list(range(1, 100))
print("done")
"""


def test_a_forked_process_leaves_it_to_its_parent():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORK], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == ("done\n", "")


def test_calls_share_one_thread_and_one_resource(background: Background[str]):
    async def produce(given: str, emit: Emit[tuple[str, int]]) -> None:
        await emit((given, threading.get_ident()))

    both = zip(background.iterate(produce, most_waiting=1), background.iterate(produce, most_waiting=1), strict=True)
    [(one, other)] = both
    assert one == other
    assert one[0] == "resource"
    assert opened == ["opened"]


def test_it_ends_with_its_owner():
    before = set(threading.enumerate())
    background = Background(resource)
    assert list(background.iterate(counting(1), most_waiting=1)) == [0]
    [thread] = set(threading.enumerate()) - before
    del background
    thread.join(180)
    assert not thread.is_alive()


def test_a_call_that_is_given_up_ends_at_once(background: Background[str]):
    seen: list[str] = []

    async def hang(_: str, emit: Emit[int]) -> None:
        await emit(1)
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("tidied up")

    given_up: Future[None] = Future()
    with cancellable(given_up):
        results = background.iterate(hang, most_waiting=1)
        assert next(results) == 1
        threading.Timer(0.05, given_up.cancel).start()
        with pytest.raises(CallCancelledError):
            next(results)
    assert seen == ["tidied up"]


def test_a_resource_that_cannot_be_had_is_the_caller_s_error():
    @asynccontextmanager
    async def broken() -> AsyncIterator[str]:
        raise ValueError("broken")
        yield ""

    with closing(Background(broken)) as background:
        for _ in range(2):
            with pytest.raises(ValueError, match="broken"):
                list(background.iterate(counting(1), most_waiting=1))


def test_what_was_to_be_handed_over_when_another_task_failed_arrives(background: Background[str]):
    async def produce(_: str, emit: Emit[int]) -> None:
        async with asyncio.TaskGroup() as tasks:
            for value in range(4):
                tasks.create_task(emit(value))
            await asyncio.sleep(0.05)
            raise ValueError

    results = background.iterate(produce, most_waiting=1)
    assert next(results) in range(4)
    time.sleep(0.2)  # slower than the results come
    handed_over = 1
    with suppress(ExceptionGroup):
        for _ in results:
            handed_over += 1
    assert handed_over == 4
