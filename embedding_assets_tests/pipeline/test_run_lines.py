import logging

import pytest

from embedding_assets.pipeline.pace import Pace
from embedding_assets.pipeline.run_lines import MOST_FAILED, RunLines
from embedding_assets.postgres.failures import FailedChunk


@pytest.fixture
def clock(monkeypatch):
    """The time, to be set."""
    times = [0.0]
    monkeypatch.setattr("embedding_assets.pipeline.run_lines.time.monotonic", lambda: times[-1])
    return times


def shown(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.INFO]


def test_commits_are_said_a_minute_apart_and_in_detail_at_debug(clock, caplog):
    caplog.set_level(logging.DEBUG, "embedding_assets")
    lines = RunLines()
    for now, vectors in ((0.0, 1), (20.0, 1000), (40.0, 200), (61.0, 34), (70.0, 5)):
        clock.append(now)
        lines.committed(vectors)
    assert shown(caplog) == ["committed 1 vector", "committed 1,234 vectors"]
    assert sum(record.levelno == logging.DEBUG for record in caplog.records) == 5


def test_what_wrote_nothing_is_no_commit(clock, caplog):
    caplog.set_level(logging.DEBUG, "embedding_assets")
    RunLines().committed(0)
    assert shown(caplog) == []


def test_failed_chunks_are_named_up_to_a_number_of_each_code(caplog):
    caplog.set_level(logging.DEBUG, "embedding_assets")
    lines = RunLines()
    for number in range(1000):
        lines.failed(FailedChunk(f"{number:064x}", "blank_text" if number % 2 else "odd"))
    at = [record.levelname for record in caplog.records]
    assert (at.count("WARNING"), at.count("INFO")) == (MOST_FAILED + 1, MOST_FAILED + 1)
    assert len({vars(record)["chunk_hash"] for record in caplog.records if "chunk_hash" in vars(record)}) == 1000
    assert "further chunks that fail so (odd) are counted, not named" in caplog.text


def test_a_night_of_loading_makes_hundreds_of_lines(clock, caplog, monkeypatch):
    monkeypatch.setattr("embedding_assets.pipeline.pace.time.monotonic", lambda: clock[-1])
    caplog.set_level(logging.INFO, "embedding_assets")
    lines, written = RunLines(), []
    pace = Pace(12_000 * 64, written.append)
    for commit in range(12_000):  # one every 2.4 s for eight hours
        clock.append(commit * 2.4)
        lines.committed(64)
        pace(64)
        if commit % 10 == 0:
            lines.failed(FailedChunk(f"{commit:064x}", "odd"))
    assert 400 < len(caplog.records) + len(written) < 1000
