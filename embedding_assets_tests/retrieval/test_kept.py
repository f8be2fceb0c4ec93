"""Searching by a call."""

import asyncio
import os
import subprocess
import sys

import psycopg
import pytest

from embedding_assets import embed_pending, search, search_async
from embedding_assets.config import Settings, get_settings
from embedding_assets.errors import ConfigurationError
from embedding_assets.postgres.connection import Database
from embedding_assets.retrieval import close_searchers, kept
from embedding_assets_tests.retrieval.conftest import TEXTS
from embedding_assets_tests.support.fakes import FakeProvider, insert_chunks
from embedding_assets_tests.support.waiting import wait_until

SENTENCES = ["The cat sleeps in the sun.", "Files are opened with open().", "Bread is baked at night."]


@pytest.fixture
def embedded(settings: Settings, database: Database) -> Settings:
    """Settings of a table that the demo model has embedded."""
    insert_chunks(database, SENTENCES)
    embed_pending(settings, database=database)
    return settings


def test_the_model_of_the_serving_space_is_asked_whatever_is_set(embedded: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EMBEDDING_MODEL_NAME", "someone/else")
    monkeypatch.setenv("EMBEDDING_MAX_SEQ_LENGTH", "16")
    # Database and settings from the environment alone.
    [result] = search("How do I read a file?", k=1)
    assert result.text == "Files are opened with open()."
    assert 0.3 < result.score < 1
    assert get_settings().embedding.model_name == "someone/else"


def test_model_and_connections_are_kept_between_calls(embedded: Settings, beside: psycopg.Connection):
    def connections() -> set[int]:
        rows = beside.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return {pid for (pid,) in rows.fetchall()}

    close_searchers()
    others = connections()
    search("a cat")
    first = connections() - others
    search("bread", settings=embedded)
    asyncio.run(search_async("files"))
    assert first
    assert first <= connections() - others
    assert len(kept._kept) == 1
    close_searchers()
    wait_until(lambda: not first & connections())
    assert search("bread", k=1)[0].text == SENTENCES[2]


def test_other_settings_have_a_searcher_of_their_own(embedded: Settings):
    close_searchers()
    search("a cat", settings=embedded)
    search("a cat", settings=embedded.with_group("search", mode="text"))
    assert [one.settings.search.mode for one in kept._kept] == ["hybrid", "text"]
    # What is set differs from what is a default of the same value.
    search("a cat", settings=embedded.with_group("search", mode="hybrid"))
    assert len(kept._kept) == 3
    for number in range(kept._MOST_KEPT):
        search("a cat", settings=embedded.with_group("index", ef_search=100 + number))
    assert len(kept._kept) == kept._MOST_KEPT
    assert kept._kept[-1].settings.index.ef_search == 99 + kept._MOST_KEPT


def test_a_database_of_the_caller_s_is_left_open(embedded: Settings, database: Database):
    close_searchers()
    assert search("bread", k=1, settings=embedded, database=database)[0].text == SENTENCES[2]
    assert kept._kept == []
    assert database.run(lambda connection: connection.execute("SELECT 1").fetchone()) == (1,)


def test_a_provider_of_the_caller_s(settings: Settings, database: Database, provider: FakeProvider):
    answer = search("text 7", k=2, settings=settings, provider=provider, where=[], min_score=-1, context=1)
    assert answer[0].text == "text 7"
    assert len(answer) == 2


async def test_many_at_once(embedded: Settings):
    answers = await asyncio.gather(*(search_async(text, k=1) for text in SENTENCES * 20))
    assert [answer[0].text for answer in answers] == SENTENCES * 20
    assert len(kept._kept) == 1


async def test_loops_one_after_the_other(embedded: Settings):
    def ask(text: str) -> str:
        return asyncio.run(search_async(text, k=1))[0].text

    assert [await asyncio.to_thread(ask, text) for text in SENTENCES] == SENTENCES


def test_after_a_fork(embedded: Settings):
    assert search("bread", k=1)[0].text == SENTENCES[2]
    child = os.fork()
    if child == 0:
        found = False
        try:
            # By words: a model that was loaded before a fork is another matter.
            found = search("bread", k=1, mode="text")[0].text == SENTENCES[2]
        finally:
            os._exit(0 if found else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert search("bread", k=1)[0].text == SENTENCES[2]


def test_a_process_ends_at_once_and_without_a_word(embedded: Settings):
    program = "from embedding_assets import search\nprint(search('bread', k=1)[0].text)"
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{SENTENCES[2]}\n", "")


def test_refused_questions_open_nothing(settings: Settings):
    close_searchers()
    with pytest.raises(ConfigurationError, match="the query is empty"):
        search(" ", settings=settings)
    with pytest.raises(ConfigurationError, match="is not a condition"):
        search("a", where=["kind"], settings=settings)
    assert kept._kept == []


def test_nothing_is_embedded_yet(settings: Settings, database: Database):
    insert_chunks(database, TEXTS)
    with pytest.raises(ConfigurationError, match="nothing is embedded yet; run `embedding-assets load PATH`"):
        search("a", settings=settings)
