"""One that asks again and again: what it keeps, and who may use it."""

import asyncio
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from embedding_assets.config import Settings
from embedding_assets.errors import ConfigurationError
from embedding_assets.postgres.bootstrap import resolve_url
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.space_changes import drop_space
from embedding_assets.postgres.spaces import list_spaces, serve_space
from embedding_assets.providers.space_selection import Selection
from embedding_assets.retrieval import Question, Searcher, known
from embedding_assets_tests.retrieval.conftest import TEXTS
from embedding_assets_tests.support.fakes import FAKE_SPACE, FakeProvider, insert_chunks
from embedding_assets_tests.support.fallbacks import with_fallback
from embedding_assets_tests.support.retrieval import embed


class Counting(Database):
    """Counts the times that work is sent to the server."""

    trips = 0

    def _retry(self, attempt: Callable[[], object]) -> object:
        self.trips += 1
        return super()._retry(attempt)


@pytest.mark.parametrize("mode", ["hybrid", "vector", "text"])
@pytest.mark.parametrize("fallback", [False, True])
def test_a_question_takes_one_trip_to_the_database(
    mode: str, fallback: bool, settings: Settings, database: Database, provider: FakeProvider
):
    if fallback:
        settings = with_fallback(settings)
    with (
        Counting(resolve_url(settings), settings.database, settings.source) as counting,
        Searcher(settings, database=counting, provider=provider) as searcher,
    ):
        searcher.search("text 7", mode=mode)
        before = counting.trips
        assert searcher.search("text 8", mode=mode)[0].text == "text 8"
        assert counting.trips == before + 1


def test_the_model_is_opened_once(settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch):
    fake = FakeProvider()
    insert_chunks(database, TEXTS)
    embed(settings, database, fake)
    opened: list[Selection] = []

    def open_provider(selection: Selection) -> FakeProvider:
        opened.append(selection)
        return fake

    monkeypatch.setattr(Selection, "open_provider", open_provider)
    with Searcher(settings, database=database) as searcher:
        for text in TEXTS[:5]:
            assert searcher.search(text, k=1)[0].text == text
    assert len(opened) == 1


def test_another_space_that_serves_is_seen(
    settings: Settings, database: Database, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
):
    other = FakeProvider(space=replace(FAKE_SPACE, model="fake/other"))
    embed(settings, database, other)
    providers = {provider.space: provider, other.space: other}
    monkeypatch.setattr(Selection, "open_provider", lambda selection: providers[selection.column.space])
    monkeypatch.setattr(known, "_KEPT_SECONDS", 0.2)
    with Searcher(settings, database=database) as searcher:
        assert searcher.search("text 7")[0].space == provider.space.name
        second = next(column for column in list_spaces(database) if column.space == other.space)
        serve_space(database, second)
        time.sleep(0.3)
        assert searcher.search("text 7")[0].space == other.space.name


def test_a_space_that_is_dropped_meanwhile(
    settings: Settings, database: Database, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
):
    other = FakeProvider(space=replace(FAKE_SPACE, model="fake/other"))
    embed(settings, database, other)
    providers = {provider.space: provider, other.space: other}
    monkeypatch.setattr(Selection, "open_provider", lambda selection: providers[selection.column.space])
    monkeypatch.setattr(known, "_KEPT_SECONDS", 1000)
    first, second = list_spaces(database)
    serve_space(database, second)
    with Searcher(settings, database=database) as searcher:
        assert searcher.search("text 7")[0].space == second.space.name
        serve_space(database, first)
        drop_space(database, replace(second, serving=False))
        # Its column is gone, and the question is asked again where it can be.
        assert searcher.search("text 7")[0].space == first.space.name


def test_an_error_is_not_hidden_by_asking_again(searcher: Searcher):
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="no space is called 'x'"):
            searcher.search("text 7", space="x")


class Slow(FakeProvider):
    """Takes a while for each question, and notes how many are under way."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.most = self._under_way = 0
        self._noting = threading.Lock()

    def embed(self, texts, *, query=False):
        with self._noting:
            self._under_way += 1
            self.most = max(self.most, self._under_way)
        time.sleep(self.seconds)
        yield from super().embed(texts, query=query)
        with self._noting:
            self._under_way -= 1


async def test_other_tasks_go_on_and_the_pool_bounds_how_many_ask(settings: Settings, database: Database, provider):
    slow = Slow(0.05)
    few = settings.with_group("database", pool_size=3)
    with Searcher(few, database=database, provider=slow) as searcher:
        longest, done = 0.0, False

        async def watch() -> None:
            nonlocal longest
            while not done:
                before = time.monotonic()
                await asyncio.sleep(0.001)
                longest = max(longest, time.monotonic() - before)

        watching = asyncio.create_task(watch())
        answers = await asyncio.gather(*(searcher.ask_async(Question(text, k=1)) for text in TEXTS))
        done = True
        await watching
    assert [answer[0].text for answer in answers] == TEXTS
    assert slow.most == 3
    # Had the loop waited for them, it would have waited for all of them: 30 of 0.05 s, three side by side.
    assert longest < 0.4


async def test_a_task_that_is_cancelled_waits_no_longer(settings: Settings, database: Database, provider):
    with Searcher(settings, database=database, provider=Slow(2)) as searcher, pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await searcher.ask_async(Question("text 7"))


def test_many_threads_ask_at_once(settings: Settings, database: Database, provider: FakeProvider):
    few = settings.with_group("database", pool_size=2)
    with (
        Searcher(few, database=database, provider=provider) as searcher,
        ThreadPoolExecutor(16) as threads,
    ):
        found = list(threads.map(lambda text: searcher.search(text, k=1)[0].text, TEXTS * 4))
    assert found == TEXTS * 4


def test_after_a_fork_the_child_asks_for_itself(settings: Settings, provider: FakeProvider):
    # With a database that the searcher opens itself.
    with Searcher(settings, provider=provider) as searcher:
        assert searcher.search("text 7", k=1)[0].text == "text 7"
        child = os.fork()
        if child == 0:
            found = False
            try:
                found = searcher.search("text 8", k=1)[0].text == "text 8"
            finally:
                os._exit(0 if found else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert searcher.search("text 9", k=1)[0].text == "text 9"


def test_closing_leaves_the_caller_s_database_open(settings: Settings, database: Database, provider: FakeProvider):
    searcher = Searcher(settings, database=database, provider=provider)
    searcher.search("text 7")
    searcher.close()
    assert database.run(lambda connection: connection.execute("SELECT 1").fetchone()) == (1,)
