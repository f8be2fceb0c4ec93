"""Processes that read and split files side by side; one that crashes or hangs costs the file it was at, and no more."""

from __future__ import annotations

import logging
import pickle
import signal
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from embedding_assets.documents.file_reading import WHOLE, Portion, Share
from embedding_assets.documents.reading_process import LAST_PORTION, LOG_RECORD, READY, ReaderSetup
from embedding_assets.documents.reading_worker import Answer, PooledTask, Worker, speaking
from embedding_assets.documents.rejection import Rejection

if TYPE_CHECKING:
    from embedding_assets.documents.formats.options import ReadOptions
    from embedding_assets.documents.splitting import Splitter

logger = logging.getLogger(__name__)

FILE_SECONDS: Final = 300.0
"""A process that is silent for so long while it reads a file is ended, and the file rejected."""

_WAITING_BYTES: Final = 24_000_000
"""Of answers that are not taken yet; at more, processes wait."""

_TOGETHER: Final = 64
_SMALL_BYTES: Final = 16_384
"""So many small files are handed to processes together."""

_POLL_SECONDS: Final = 1.0
_FEWEST_TO_TRY: Final = 2


class ProcessesUnavailableError(Exception):
    """No process could be started."""


class ReadingPool:
    """Reads files by processes of its own, which are started as they are needed.

    They are no copies of this one and run none of its ``__main__``, so that any script may use it. A process is given
    its first file once it has started. Used by one thread.

    Args:
        splitter: how texts become chunks.
        options: how files are read.
        processes: how many at most.
    """

    def __init__(self, splitter: Splitter, options: ReadOptions, processes: int) -> None:
        setup: ReaderSetup = (splitter, options, logging.getLogger("embedding_assets").getEffectiveLevel())
        self._setup = pickle.dumps(setup, pickle.HIGHEST_PROTOCOL)
        self._most = processes
        self._workers: list[Worker] = []
        self._pending: deque[PooledTask] = deque()
        self._tasks: dict[int, PooledTask] = {}
        self._announced: dict[str, list[PooledTask]] = {}
        self._numbers = 0
        self._waiting = 0
        self._undispatched = 0
        self._failed_starts = 0
        self._was_ready = False

    def announce(self, path: Path, source: str, size: int, shares: int = 1) -> None:
        """Begin with a file that will be asked for: as early as there is room for it.

        Args:
            path: the file.
            source: the name by which it is known.
            size: bytes, about.
            shares: how many processes share its rows.
        """
        if source not in self._announced:
            self._announced[source] = self._add(path, source, size, shares)
            self._undispatched += shares
            is_small = size <= _SMALL_BYTES and self._undispatched < _TOGETHER
            if not is_small or len(self._workers) < self._most:
                self._dispatch()

    def read(self, path: Path, source: str, size: int, shares: int = 1) -> Iterator[Portion]:
        """The chunks of a file, and what of it is rejected, until it is read to its end; see ``announce``.

        Raises:
            ProcessesUnavailableError: none can be started here.
        """
        tasks = self._announced.pop(source, None) or self._add(path, source, size, shares, first=True)
        said: set[str] = set()
        try:
            while True:
                for task in tasks:
                    while task.answers:
                        answer = task.answers.popleft()
                        self._waiting -= len(answer)
                        portion: Portion = pickle.loads(answer)  # noqa: S301 (of a process that this one started)
                        yield _without_repeated(portion, said) if len(tasks) > 1 else portion
                if all(task.is_done and not task.answers for task in tasks):
                    return
                self._pump(tasks)
        finally:
            for task in tasks:
                self._forget(task)

    def is_ready(self) -> bool:
        """Whether a process has started, without waiting for one.

        Raises:
            ProcessesUnavailableError: none can be started here.
        """
        if not self._was_ready:
            self._pump([], seconds=0)
        return self._was_ready

    def forget(self, source: str) -> None:
        """A file that was announced is read elsewhere."""
        for task in self._announced.pop(source, []):
            self._forget(task)

    def close(self) -> None:
        """End all processes, whatever they are at."""
        for worker in self._workers:
            worker.end()
        self._workers.clear()

    def _add(self, path: Path, source: str, size: int, shares: int, *, first: bool = False) -> list[PooledTask]:
        tasks = []
        for number in range(shares):
            self._numbers += 1
            share = WHOLE if shares == 1 else Share(number, shares)
            tasks.append(PooledTask(self._numbers, path, source, size, share))
        self._tasks |= {task.number: task for task in tasks}
        if first:
            self._pending.extendleft(reversed(tasks))
        else:
            self._pending.extend(tasks)
        return tasks

    def _forget(self, task: PooledTask) -> None:
        """What comes of it is of no interest any more."""
        self._waiting -= sum(map(len, task.answers))
        task.answers.clear()
        self._tasks.pop(task.number, None)
        if not task.is_done:
            with suppress(ValueError):
                self._pending.remove(task)

    def _dispatch(self) -> None:
        self._undispatched = 0
        self._assign()
        for worker in self._workers:
            worker.send()

    def _assign(self) -> None:
        while self._pending:
            task = self._pending[0]
            ready = [worker for worker in self._workers if worker.is_ready]
            worker = min(ready, key=lambda one: (len(one.tasks) > 0, one.bytes), default=None)
            starting = len(self._workers) - len(ready)
            if (worker is None or worker.tasks) and starting < len(self._pending) and len(self._workers) < self._most:
                self._workers.append(Worker(self._setup))
                continue
            if worker is None or not worker.has_room(task):
                return
            self._pending.popleft()
            worker.give(task)

    def _pump(self, wanted: list[PooledTask], seconds: float = _POLL_SECONDS) -> None:
        """Take what processes have to say, or wait for it so long."""
        self._dispatch()
        is_waited_for = any(task in self._pending for task in wanted)
        heard = []
        for worker in self._workers:
            if self._waiting < _WAITING_BYTES or is_waited_for or any(task in worker.tasks for task in wanted):
                heard.append(worker)
            else:
                worker.since = time.monotonic()
        for worker in speaking(heard, seconds):
            try:
                for answer in worker.hear():
                    self._take(worker, answer)
            except (EOFError, OSError):
                self._bury(worker, "")
        for worker in list(self._workers):
            is_awaited = worker.tasks or not worker.is_ready
            if is_awaited and time.monotonic() - worker.since > FILE_SECONDS and not speaking([worker], 0):
                self._bury(worker, f"takes longer than {FILE_SECONDS:g} seconds to read")

    def _take(self, worker: Worker, answer: Answer) -> None:
        number, kind, content = answer
        worker.since = time.monotonic()
        if kind == READY:
            self._was_ready = worker.is_ready = True
        elif kind == LOG_RECORD:
            record = pickle.loads(content)  # noqa: S301 (of a process that this one started)
            logging.getLogger(record.name).handle(record)
        else:
            self._keep(number, content)
            if kind == LAST_PORTION:
                worker.remove_first().is_done = True

    def _keep(self, number: int, answer: bytes) -> None:
        task = self._tasks.get(number)
        if task is not None:
            task.answers.append(answer)
            self._waiting += len(answer)

    def _bury(self, worker: Worker, reason: str) -> None:
        """Reject what an ended process was at, and have others do the rest."""
        self._workers.remove(worker)
        status = worker.end()
        if not worker.is_ready:
            self._failed_starts += 1
            if not self._was_ready and self._failed_starts >= _FEWEST_TO_TRY:
                raise ProcessesUnavailableError
        elif worker.tasks:
            guilty = worker.remove_first()
            rejection = Rejection(guilty.source, None, reason or f"ended the process that read it ({_ending(status)})")
            self._keep(guilty.number, pickle.dumps([rejection]))
            guilty.is_done = True
        self._pending.extendleft(task for task in reversed(worker.tasks) if task.number in self._tasks)


def _ending(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
    return f"{name}, as where memory is short" if name == "SIGKILL" else name


def _without_repeated(portion: Portion, said: set[str]) -> Portion:
    """A portion without rejections of the whole file that another share has brought already."""
    kept: Portion = []
    for one in portion:
        if isinstance(one, Rejection) and one.line is None:
            if one.reason in said:
                continue
            said.add(one.reason)
        kept.append(one)
    return kept
