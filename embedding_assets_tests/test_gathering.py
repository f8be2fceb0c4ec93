"""Items that are handed in side by side and worked on together."""

import asyncio
from collections.abc import Sequence

import pytest

from embedding_assets.gathering import Gatherer


class Work:
    """Doubles numbers, once it is let; refuses 13, and fails as a whole on 666."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[int]]] = []
        self.let = asyncio.Event()
        self.let.set()
        self.cancelled = 0

    async def __call__(self, key: str, items: Sequence[int]) -> list[int | Exception]:
        self.calls.append((key, list(items)))
        try:
            await self.let.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if 666 in items:
            raise ConnectionError("down")
        return [ValueError("no") if item == 13 else 2 * item for item in items]


async def until(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def test_what_comes_together_is_one_call():
    work = Work()
    gatherer = Gatherer(work, most_at_once=1)
    assert await asyncio.gather(*(gatherer.submit("a", number) for number in range(100, 164))) == list(
        range(200, 328, 2)
    )
    assert work.calls == [("a", list(range(100, 164)))]


async def test_keys_are_kept_apart():
    work = Work()
    gatherer = Gatherer(work, most_at_once=1)
    await asyncio.gather(*(gatherer.submit("ab"[number % 2], number) for number in range(6)))
    assert work.calls == [("a", [0, 2, 4]), ("b", [1, 3, 5])]


async def test_while_one_call_is_under_way_the_next_gathers():
    work = Work()
    work.let.clear()
    gatherer = Gatherer(work, most_at_once=1)
    tasks = [asyncio.create_task(gatherer.submit("a", 0))]
    await until(lambda: work.calls)
    for number in range(1, 5):
        tasks.append(asyncio.create_task(gatherer.submit("a", number)))
        await asyncio.sleep(0.005)
    work.let.set()
    assert await asyncio.gather(*tasks) == [0, 2, 4, 6, 8]
    assert work.calls == [("a", [0]), ("a", [1, 2, 3, 4])]


async def test_an_item_s_error_is_its_own_and_a_failure_is_everybody_s():
    gatherer = Gatherer(Work(), most_at_once=1)
    outcomes = await asyncio.gather(*(gatherer.submit("a", n) for n in (1, 13, 2)), return_exceptions=True)
    assert [outcomes[0], outcomes[2]] == [2, 4]
    assert isinstance(outcomes[1], ValueError)
    outcomes = await asyncio.gather(*(gatherer.submit("a", n) for n in (1, 666)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ConnectionError] * 2
    assert await gatherer.submit("a", 3) == 6


async def test_what_is_cancelled_before_is_left_out():
    work = Work()
    gatherer = Gatherer(work, most_at_once=1)
    tasks = [asyncio.create_task(gatherer.submit("a", number)) for number in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    assert await asyncio.gather(tasks[0], tasks[2]) == [0, 4]
    assert work.calls == [("a", [0, 2])]


async def test_a_call_ends_once_no_caller_waits():
    work = Work()
    work.let.clear()
    gatherer = Gatherer(work, most_at_once=1)
    first = [asyncio.create_task(gatherer.submit("a", number)) for number in range(2)]
    await until(lambda: work.calls)
    waiting = asyncio.create_task(gatherer.submit("a", 2))
    await asyncio.sleep(0)
    first[0].cancel()
    await asyncio.sleep(0.01)
    assert work.cancelled == 0, "the other one waits"
    first[1].cancel()
    await until(lambda: work.cancelled == 1 and len(work.calls) == 2)
    waiting.cancel()
    late = asyncio.create_task(gatherer.submit("a", 3))  # at the same moment
    work.let.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await late == 6


def test_event_loops_are_kept_apart_and_forgotten():
    work = []

    async def double(key: str, items: Sequence[int]) -> list[int]:
        work.append(list(items))
        return [2 * item for item in items]

    gatherer = Gatherer(double, most_at_once=1)
    assert [asyncio.run(gatherer.submit("a", number)) for number in range(3)] == [0, 2, 4]
    assert work == [[0], [1], [2]]
    assert gatherer._sides == {}
