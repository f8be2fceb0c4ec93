"""Questions are counted by week, and written beside the answers, as far as that is possible."""

from datetime import UTC, datetime

import httpx2
import psycopg
import pytest

from embedding_assets.config import Settings
from embedding_assets.errors import DatabaseUnavailableError
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.question_weeks import list_question_weeks
from embedding_assets.postgres.spaces import list_spaces
from embedding_assets.retrieval.random_scores import BestScore
from embedding_assets.serving import counting
from embedding_assets.serving.counting import QuestionCounts
from embedding_assets_tests.serving.conftest import TEXTS
from embedding_assets_tests.support.fakes import FakeProvider
from embedding_assets_tests.support.serving import served
from embedding_assets_tests.support.waiting import wait_until


def ask(client: httpx2.Client, text: str) -> None:
    assert client.get("/search", params={"q": text}).status_code == 200


def test_they_are_written_at_the_end(settings: Settings, provider: FakeProvider, database: Database):
    with served(settings) as client:
        for text in (*TEXTS[:3], "of something else"):
            ask(client, text)
        ask(client, "text 7")
        assert client.get("/search", params={"q": "text 7", "mode": "text"}).status_code == 200
    [week] = list_question_weeks(database, 1)
    assert (week.space, week.questions, week.low) == (list_spaces(database)[0].space.name, 5, 1)
    assert 0 <= (datetime.now(UTC).date() - week.monday).days <= 7
    assert week.monday.weekday() == 0


def test_and_now_and_then(
    settings: Settings, provider: FakeProvider, database: Database, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(counting, "WRITE_SECONDS", 0.05)
    with served(settings) as client:
        for number in (1, 2):
            ask(client, "text 7")
            wait_until(lambda number=number: [week.questions for week in list_question_weeks(database, 1)] == [number])


def test_a_role_that_may_not_write(
    provider: FakeProvider, database: Database, beside: psycopg.Connection, caplog: pytest.LogCaptureFixture
):
    beside.execute("DROP TABLE embedding_question_weeks")
    counts = QuestionCounts(lambda: database)
    counts.add(BestScore("space", 0.5, is_low=False))
    with caplog.at_level("INFO"):
        counts.write()
        counts.add(BestScore("space", 0.5, is_low=False))
        counts.close()
    assert caplog.text.count("questions are not counted by week") == 1


def test_a_database_that_is_down_has_them_later(
    provider: FakeProvider, database: Database, monkeypatch: pytest.MonkeyPatch
):
    def down(*_: object) -> None:
        raise DatabaseUnavailableError("it is down")

    name = list_spaces(database)[0].space.name
    counts = QuestionCounts(lambda: database)
    counts.add(BestScore(name, 0.5, is_low=True))
    with monkeypatch.context() as patched:
        patched.setattr(counting, "add_questions", down)
        counts.write()
    counts.add(BestScore(name, 0.5, is_low=False))
    counts.add(BestScore(name, 0.5, is_low=None))
    counts.close()
    [week] = list_question_weeks(database, 1)
    assert (week.questions, week.low) == (2, 1)


def test_a_database_that_takes_its_time_has_them_later(
    provider: FakeProvider, database: Database, beside: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(counting, "_PATIENCE_SECONDS", 0.3)
    counts = QuestionCounts(lambda: database)
    counts.add(BestScore(list_spaces(database)[0].space.name, 0.5, is_low=True))
    with beside.transaction():
        beside.execute("LOCK TABLE embedding_question_weeks")
        counts.write()
    monkeypatch.setattr(counting, "_PATIENCE_SECONDS", 60.0)
    counts.close()
    [week] = list_question_weeks(database, 1)
    assert (week.questions, week.low) == (1, 1)


def test_before_there_is_a_database_they_are_kept(provider: FakeProvider, database: Database):
    found: list[Database] = []
    counts = QuestionCounts(lambda: found[0] if found else None)
    counts.add(BestScore(list_spaces(database)[0].space.name, 0.5, is_low=True))
    counts.write()
    found.append(database)
    counts.close()
    [week] = list_question_weeks(database, 1)
    assert (week.questions, week.low) == (1, 1)
