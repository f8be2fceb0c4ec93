"""Coroutines whose results a plain iterator gives."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from contextvars import ContextVar

import pytest

from embedding_assets.providers.openai.background import Emit, iterate_in_background

number: ContextVar[int] = ContextVar("number", default=0)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name == "background"] == []


def counting(count: int, seen: list[str] | None = None, *, fail: BaseException | None = None):
    seen = [] if seen is None else seen

    async def produce(emit: Emit[int]) -> None:
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


def test_results_come_in_order():
    assert list(iterate_in_background(counting(1000), most_waiting=3)) == list(range(1000))
    assert list(iterate_in_background(counting(0), most_waiting=1)) == []


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), asyncio.CancelledError()])
def test_what_is_raised_comes_after_the_results(error: BaseException):
    results = iterate_in_background(counting(2, fail=error), most_waiting=9)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(type(error)):
        next(results)


def test_no_more_is_produced_than_may_wait():
    seen: list[str] = []
    with closing(iterate_in_background(counting(100, seen), most_waiting=2)) as results:
        assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    assert 5 <= len([line for line in seen if line.startswith("emitted")]) <= 7
    assert seen[-2:] == ["cancelled", "tidied up"]


def test_nothing_runs_before_it_is_asked_for():
    seen: list[str] = []
    results = iterate_in_background(counting(1, seen), most_waiting=1)
    results.close()
    assert seen == []


def test_closing_after_the_end_is_harmless():
    results = iterate_in_background(counting(1), most_waiting=1)
    assert list(results) == [0]
    results.close()


def test_dropping_the_iterator_closes_it():
    seen: list[str] = []
    results = iterate_in_background(counting(100, seen), most_waiting=1)
    next(results)
    del results
    assert seen[-1] == "tidied up"


def test_the_callers_context_is_seen():
    async def produce(emit: Emit[int]) -> None:
        await emit(number.get())

    token = number.set(7)
    try:
        assert list(iterate_in_background(produce, most_waiting=1)) == [7]
    finally:
        number.reset(token)


FORK = """
import asyncio, os
from embedding_assets.providers.openai.background import iterate_in_background

async def produce(emit):
    for value in range(100):
        await emit(value)
        await asyncio.sleep(0.001)

results = iterate_in_background(produce, most_waiting=2)
assert next(results) == 0
child = os.fork()
if child == 0:
    results.close()
    assert list(iterate_in_background(produce, most_waiting=2)) == list(range(100))
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
