"""A process that reads files and splits their texts, as another one asks it to by its standard input.

Run by ``ReadingPool`` as ``python -m embedding_assets.documents.reading_process``.
"""

from __future__ import annotations

import gc
import logging
import os
import pickle
import queue
import resource
import signal
import struct
import sys
import threading
import time
from contextlib import suppress
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from embedding_assets.documents.file_reading import Share, read_portions
from embedding_assets.documents.formats.options import ReadOptions
from embedding_assets.documents.splitting import Splitter

HEADER: Final = struct.Struct("!QQB")
"""Of an answer: bytes that follow, number of the task, and what they are."""

READY: Final = 0
PORTION: Final = 1
LAST_PORTION: Final = 2
LOG_RECORD: Final = 3

MEMORY_BYTES: Final = 1 << 30
"""What a process may take for data; a file that needs more is rejected."""

_NICENESS: Final = 5
_YOUNG_OBJECTS: Final = 20_000
_BYTES_TO_COLLECT: Final = 4_000_000
_GRACE_SECONDS: Final = 2.0

ReaderSetup = tuple[Splitter, ReadOptions, int]
"""How files are read and split, and from which level on what is logged is of interest."""

Task = tuple[int, str, str, Share]
"""Number, path and name of a file, and the share of its rows."""


def main() -> None:
    """Read files until standard input ends."""
    # Who started this process ends it; what else the terminal or the system sends is meant for that one.
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.SIG_IGN)
    os.nice(_NICENESS)
    # Libraries print to standard output too.
    asked, answers = Connection(os.dup(0), writable=False), os.dup(1)
    os.dup2(2, 1)
    _limit_memory()
    splitter, options, level = pickle.loads(asked.recv_bytes())  # noqa: S301 (from the process that started this one)
    logging.getLogger().addHandler(_Forwarding(answers))
    logging.getLogger().setLevel(level)
    # What is there stays, and to look for cycles at every 700 objects is not worth it; see ``_Garbage``.
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS)
    _answer(answers, 0, READY)
    tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(asked, tasks), daemon=True).start()
    garbage = _Garbage()
    while (task := tasks.get()) is not None:
        number, path, source, share = task
        garbage.add(Path(path))
        before = None
        for portion in read_portions(Path(path), source, options, splitter, share):
            if before is not None:
                _answer(answers, number, PORTION, before)
            before = portion
        _answer(answers, number, LAST_PORTION, before or [])


class _Garbage:
    """Collects what files have left in cycles: few objects, that hold all of a document of Word with its pictures."""

    def __init__(self) -> None:
        self._bytes = 0

    def add(self, path: Path) -> None:
        """Collect before a file is read, if those before it were large, and count it."""
        if self._bytes > _BYTES_TO_COLLECT:
            gc.collect()
            self._bytes = 0
        with suppress(OSError):
            self._bytes += path.stat().st_size


def _receive(asked: Connection, tasks: queue.SimpleQueue[Task | None]) -> None:
    """Take in tasks, so that their sender never waits; at their end, end what is under way."""
    try:
        while True:
            for task in pickle.loads(asked.recv_bytes()):  # noqa: S301 (as above)
                tasks.put(task)
    except (EOFError, OSError):
        tasks.put(None)
        time.sleep(_GRACE_SECONDS)
        os._exit(1)


def _answer(answers: int, number: int, kind: int, content: object = None) -> None:
    pickled = pickle.dumps(content, pickle.HIGHEST_PROTOCOL)
    rest = memoryview(HEADER.pack(len(pickled), number, kind) + pickled)
    try:
        while rest:
            rest = rest[os.write(answers, rest) :]
    except OSError:
        sys.exit(1)  # the other side is gone


def _limit_memory() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = MEMORY_BYTES if most == resource.RLIM_INFINITY else min(MEMORY_BYTES, most)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, most))


class _Forwarding(QueueHandler):
    """Hands records of the log over to the process that started this one."""

    def __init__(self, answers: int) -> None:
        super().__init__(answers)  # type: ignore[arg-type]
        self._answers = answers

    def enqueue(self, record: logging.LogRecord) -> None:
        _answer(self._answers, 0, LOG_RECORD, record)


if __name__ == "__main__":
    main()
