"""A process that reads files, as the one that started it sees it."""

from __future__ import annotations

import os
import pickle
import select
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Final

from embedding_assets.documents.reading_process import HEADER, Task

if TYPE_CHECKING:
    from embedding_assets.documents.file_reading import Share

_AHEAD_TASKS: Final = 512
_AHEAD_BYTES: Final = 262_144
"""Small files that a process is given at once: it goes on while what it has read is stored."""

_PIPE_BYTES: Final = 1 << 20
_HEARD_BYTES: Final = 1 << 18
_END_SECONDS: Final = 5.0

Answer = tuple[int, int, bytes]
"""Number of the task, the kind of what follows, and that."""


@dataclass(slots=True, eq=False)
class PooledTask:
    """A file, or a share of its rows, and what came of it so far.

    Attributes:
        number: by which processes know it.
        path: the file.
        source: the name by which it is known.
        size: bytes, about.
        share: which of its rows.
        answers: portions, as they came.
        is_done: whether there are no more to come.
    """

    number: int
    path: Path
    source: str
    size: int
    share: Share
    answers: deque[bytes] = field(default_factory=deque)
    is_done: bool = False


class Worker:
    """A process, and what it was given to read.

    Args:
        setup: a pickled ``ReaderSetup``.

    Attributes:
        tasks: the one that it is at, and those that follow.
        since: when it started, last spoke, was given something after it had nothing, or was not listened to.
        bytes: size of all tasks.
        is_ready: whether it has spoken.
    """

    def __init__(self, setup: bytes) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "embedding_assets.documents.reading_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Libraries in C or Rust may print what they choke on.
            stderr=subprocess.DEVNULL,
            env=_environment(),
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._asked = Connection(os.dup(self._process.stdin.fileno()), readable=False)
        self._answers = os.dup(self._process.stdout.fileno())
        self._process.stdin.close()
        self._process.stdout.close()
        os.set_blocking(self._answers, False)
        for pipe in (self._asked.fileno(), self._answers):
            _widen(pipe)
        self._heard = b""
        self.tasks: deque[PooledTask] = deque()
        self.since = time.monotonic()
        self.is_ready = False
        self.bytes = 0
        self._is_full = False
        self._unsent: list[Task] = []
        with suppress(OSError):
            self._asked.send_bytes(setup)

    def fileno(self) -> int:
        """Where it speaks."""
        return self._answers

    def has_room(self, task: PooledTask) -> bool:
        """Whether it may be given one more."""
        if not self.tasks:
            return True
        # Once full, it is given many again together: each message takes its time at both ends.
        part = 2 if self._is_full else 1
        self._is_full = len(self.tasks) >= _AHEAD_TASKS // part or self.bytes + task.size > _AHEAD_BYTES // part
        return not self._is_full

    def give(self, task: PooledTask) -> None:
        """Have it read a file, once that is sent."""
        if not self.tasks:
            self.since = time.monotonic()
        self.tasks.append(task)
        self.bytes += task.size
        self._unsent.append((task.number, str(task.path), task.source, task.share))

    def send(self) -> None:
        """Send what it was given; if it is gone, that shows when it is listened to."""
        if self._unsent:
            with suppress(OSError):
                self._asked.send_bytes(pickle.dumps(self._unsent, pickle.HIGHEST_PROTOCOL))
            self._unsent.clear()

    def hear(self) -> Iterator[Answer]:
        """What it has said since, as far as that is complete; of small files many at once.

        Raises:
            EOFError: it has ended.
        """
        said = os.read(self._answers, _HEARD_BYTES)
        if not said:
            raise EOFError
        data = self._heard + said if self._heard else said
        at = 0
        while at + HEADER.size <= len(data):
            size, number, kind = HEADER.unpack_from(data, at)
            end = at + HEADER.size + size
            if end > len(data):
                break
            yield number, kind, data[at + HEADER.size : end]
            at = end
        self._heard = data[at:]

    def remove_first(self) -> PooledTask:
        """The file that it was at, which is over."""
        task = self.tasks.popleft()
        self.bytes -= task.size
        return task

    def end(self) -> int:
        """End the process, if it has not ended by itself; returns its status."""
        self._asked.close()
        os.close(self._answers)
        if self.tasks or not self.is_ready:
            self._process.kill()
        try:
            return self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


def speaking(workers: list[Worker], seconds: float) -> list[Worker]:
    """Those that have something to say, or have ended; waits for the first of them so long."""
    poll = select.poll()
    for worker in workers:
        poll.register(worker, select.POLLIN)
    numbers = {number for number, _ in poll.poll(seconds * 1000)}
    return [worker for worker in workers if worker.fileno() in numbers]


def _environment() -> dict[str, str]:
    """One thread each, and packages from where this process has them, not from the folder it is in."""
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)  # noqa: PTH100 (as the interpreter has it)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "RAYON_NUM_THREADS", "TOKENIZERS_PARALLELISM"), "1")
    return {**os.environ, "PYTHONPATH": path, **threads, "TOKENIZERS_PARALLELISM": "false", "MALLOC_ARENA_MAX": "2"}


def _widen(pipe: int) -> None:
    """Have a pipe hold more, so that its writer goes on while who reads it is at something else."""
    try:
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    except (AttributeError, OSError):
        return  # not Linux, or not allowed
