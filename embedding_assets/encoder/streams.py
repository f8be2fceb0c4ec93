"""Threads that compute on the CPU: several batches side by side, or one batch by a team of threads.

A team waits at the end of every product for its slowest thread. Where other processes want the cores as well that is
one that is not scheduled, for steps of some 8 ms; streams of one thread each wait for nothing. Teams are as fast on a
machine of their own, and faster where one product keeps the units of all cores busy better than several do.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Final

from embedding_assets.encoder.precision import layer_product, packing_is_faster
from embedding_assets.encoder.threads import compute_with

if TYPE_CHECKING:
    import torch

    from embedding_assets.encoder.precision import Precision

logger = logging.getLogger(__name__)

_NO_SLOWER: Final = 0.93
"""Share of a team's rate that streams must reach; two measurements of one thing differ by as much."""

_TRIES: Final = 3
_ROWS: Final = {"float32": 256, "bfloat16": 1024, "int8": 256}
"""Enough to keep a core busy for milliseconds; matrix units want more."""

_current = threading.local()


class GivenUpError(Exception):
    """A computation that nothing waits for any more."""


class ClosedError(Exception):
    """The threads were ended; others take their place."""


class Computation:
    """A batch that is computed in another thread, or is to be."""

    def __init__(self, work: Callable[[], torch.Tensor], ended: Callable[[], object]) -> None:
        self._work = work
        self._ended = ended
        self._begun = False
        self._given_up = threading.Event()
        self.future: Future[torch.Tensor] | None = None

    def result(self) -> torch.Tensor:
        """Wait for it; raises what it raised."""
        assert self.future is not None
        return self.future.result()

    def give_up(self) -> None:
        """Do not begin it, or stop at the next layer."""
        self._given_up.set()
        if self.future is not None:
            self.future.cancel()

    def run(self) -> torch.Tensor:
        """Compute, in the thread that does so."""
        self._begun = True
        _current.given_up = self._given_up
        try:
            check_wanted()
            return self._work()
        finally:
            _current.given_up = None
            # Before there is a result: who waits for that may submit the next at once.
            self._ended()

    def forget(self, _: object) -> None:
        """Called when all is over: what was never begun, as it was given up, has ended as well."""
        if not self._begun:
            self._ended()


def check_wanted(*_: object) -> None:
    """Called between layers.

    Raises:
        GivenUpError: nothing waits for what this thread computes.
    """
    given_up = getattr(_current, "given_up", None)
    if given_up is not None and given_up.is_set():
        raise GivenUpError


class Streams:
    """The threads that compute for all models of this process, whatever threads ask for it.

    Args:
        threads: of the team, and streams of one thread each.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._team = _pool("team", 1, threads)
        self._single = _pool("stream", threads, 1)
        self._urgent = _pool("urgent", 1, 1)
        self._counting = threading.Lock()
        self._under_way = 0
        self._closed = False

    def submit(self, work: Callable[[], torch.Tensor], *, side_by_side: bool, alone: bool) -> Computation:
        """Begin a computation.

        Args:
            work: computes.
            side_by_side: by one thread beside others, unless it is alone; else by the team, one after the other.
            alone: a caller waits for this one only. The whole machine computes it if it is free; if not, it does not
                wait for the batches of a long run.

        Raises:
            ClosedError: these threads were ended.
        """
        computation = Computation(work, self._done)
        with self._counting:
            if self._closed:
                raise ClosedError
            most = self._threads if side_by_side else 1
            if alone and self._under_way >= most:
                pool = self._urgent
            elif side_by_side and not (alone and not self._under_way):
                pool = self._single
            else:
                pool = self._team
            self._under_way += 1
            # Within the lock: the pools are not closed meanwhile.
            try:
                computation.future = pool.submit(computation.run)
            except BaseException:
                self._under_way -= 1
                raise
        computation.future.add_done_callback(computation.forget)
        return computation

    def multiply(
        self, work: Callable[[torch.Tensor], torch.Tensor], inputs: list[torch.Tensor], *, side_by_side: bool
    ) -> None:
        """Do the same with each input, and wait for all."""
        for _ in (self._single if side_by_side else self._team).map(work, inputs):
            pass

    def close(self) -> None:
        """End the threads once they have computed what was begun."""
        with self._counting:
            self._closed = True
        for pool in (self._team, self._single, self._urgent):
            pool.shutdown()

    def _done(self) -> None:
        with self._counting:
            self._under_way -= 1


_streams: dict[int, Streams] = {}
_lock = threading.Lock()


def streams_of(threads: int) -> Streams:
    """This process's, made when they are first needed."""
    with _lock:
        if threads not in _streams:
            _streams[threads] = Streams(threads)
        return _streams[threads]


def compute(work: Callable[[], torch.Tensor], threads: int, *, side_by_side: bool, alone: bool) -> Computation:
    """Begin a computation by this process's streams, by new ones if those were ended at this moment."""
    while True:
        with suppress(ClosedError):
            return streams_of(threads).submit(work, side_by_side=side_by_side, alone=alone)


def end_streams() -> None:
    """End all threads that compute; they are made again when they are needed."""
    with _lock:
        ended = list(_streams.values())
        _streams.clear()
    for streams in ended:
        streams.close()


@cache
def streams_suit(threads: int, precision: Precision) -> bool:
    """True where streams of one thread each multiply as fast as a team of them; takes some 100 ms."""
    if threads == 1:
        return False
    together, side_by_side = _rates(threads, precision)
    logger.debug(
        "%d threads multiply %.2f times as fast in streams as in a team, in %s",
        threads,
        side_by_side / together,
        precision,
    )
    return side_by_side >= _NO_SLOWER * together


def _rates(threads: int, precision: Precision) -> tuple[float, float]:
    """Products a second, as large as a layer's, by a team of threads and by as many streams, in turns."""
    import torch

    dtype: torch.dtype = getattr(torch, precision)
    multiply = layer_product(dtype, packed=packing_is_faster(dtype))
    numbers = torch.float32 if dtype == torch.int8 else dtype
    inputs = [torch.ones(_ROWS[precision], 768, dtype=numbers) for _ in range(threads)]

    # By the threads that compute later: MKL keeps buffers for each thread that has multiplied.
    streams = streams_of(threads)
    together: list[float] = []
    side_by_side: list[float] = []
    for _ in range(_TRIES + 1):
        for seconds, apart in ((together, False), (side_by_side, True)):
            started = time.perf_counter()
            streams.multiply(multiply, inputs, side_by_side=apart)
            seconds.append(time.perf_counter() - started)
    # The first starts the threads. Whatever else runs on the machine only ever adds to the others.
    return threads / min(together[1:]), threads / min(side_by_side[1:])


def _pool(name: str, size: int, threads: int) -> ThreadPoolExecutor:
    # Threads of its own: OpenMP keeps a team for each thread that asks for one.
    return ThreadPoolExecutor(size, f"compute-{name}", initializer=compute_with, initargs=(threads,))


def _forget() -> None:
    """In a forked process: its parent's threads are not there."""
    global _lock  # noqa: PLW0603
    _lock = threading.Lock()
    _streams.clear()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forget)
