"""Between a worker's threads and its driver."""

import logging
import pickle
import threading
import time

import pytest

from embedding_assets.distribution import board as module
from embedding_assets.distribution.board import Board, RelayHandler, StopEmbedding
from embedding_assets.postgres.interruption import WorkInterruptedError, within


def test_progress_is_reported_once():
    board = Board()
    board.advance(3)
    board.advance(4)
    assert board.take(1).advanced == 7
    started = time.monotonic()
    assert board.take(0.1).advanced == 0
    assert time.monotonic() - started >= 0.1


def test_a_report_comes_as_soon_as_there_is_news():
    board = Board()
    threading.Timer(0.05, lambda: board.advance(1)).start()
    assert board.take(30).advanced == 1


def test_stopped_it_stops_at_the_next_step():
    board = Board()
    board.stop()
    with pytest.raises(StopEmbedding):
        board.advance(5)
    assert board.take(0).advanced == 5, "they are done"


def test_writing_waits_for_leave_which_is_asked_for_once():
    board = Board()
    writer = threading.Thread(target=board.wait_until_allowed)
    writer.start()
    assert board.take(10).asks_to_write
    board.allow()
    writer.join(180)
    assert not writer.is_alive()
    board.wait_until_allowed()
    assert not board.take(0).asks_to_write


def test_waiting_for_leave_can_be_given_up():
    with pytest.raises(WorkInterruptedError):
        within(0.1, Board().wait_until_allowed)


def test_log_records_travel_without_passwords_and_without_what_cannot(monkeypatch):
    board = Board()
    logger = logging.getLogger("embedding_assets_tests.board")
    handler = RelayHandler(board)
    logger.addHandler(handler)
    try:
        try:
            raise ValueError("postgresql://me:s3cret@db/x")
        except ValueError:
            logger.exception(
                "lost %s", "postgresql://me:s3cret@db/x", extra={"chunk_hash": "ab", "lock": threading.Lock()}
            )
    finally:
        logger.removeHandler(handler)
    [values] = pickle.loads(pickle.dumps(board.take(0).records))
    record = logging.makeLogRecord(values)
    assert record.getMessage() == "lost postgresql://me:***@db/x"
    assert record.chunk_hash == "ab"
    assert not hasattr(record, "lock")
    assert "ValueError" in record.exc_text
    assert "s3cret" not in str(values)


def test_a_message_that_its_values_do_not_fit_says_where(capsys: pytest.CaptureFixture[str]):
    board = Board()
    logger = logging.getLogger("test_board.malformed")
    logger.propagate = False
    logger.addHandler(RelayHandler(board))
    logger.warning("%d chunks of %s", "secret words")  # noqa: PLE1206 (what is tested)
    [record] = board.take(0).records
    assert record["msg"].startswith("test_board.py:")
    assert "secret" not in str(record) + "".join(capsys.readouterr())


def test_a_flood_of_records_is_cut_and_counted(monkeypatch):
    monkeypatch.setattr(module, "_MOST_RECORDS", 3)
    board = Board()
    for number in range(5):
        board.log({"msg": number})
    report = board.take(0)
    assert [record["msg"] for record in report.records] == [2, 3, 4]
    assert report.dropped == 2
