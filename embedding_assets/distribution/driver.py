"""The driver: hands ranges of lock buckets to the workers of a cluster until nothing is due.

The table is the only bookkeeping. A range that is handed out twice is embedded once: its locks and what is due in it
are asked of the database by the worker that has it.
"""

from __future__ import annotations

import logging
import queue
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from embedding_assets.distribution.admission import check_connections, check_place
from embedding_assets.distribution.board import Report
from embedding_assets.distribution.cluster import WorkerLost
from embedding_assets.distribution.ranges import plan_ranges
from embedding_assets.distribution.worker import Outcome, Place
from embedding_assets.errors import ClusterError, ConfigurationError
from embedding_assets.postgres.backlog import due_by_bucket
from embedding_assets.postgres.interruption import check_stopped
from embedding_assets.postgres.locks import busy_buckets

if TYPE_CHECKING:
    from embedding_assets.distribution.cluster import Cluster, Member
    from embedding_assets.distribution.layout import Layout
    from embedding_assets.distribution.worker import Order
    from embedding_assets.models import EmbeddingStats
    from embedding_assets.pipeline.run import Load

logger = logging.getLogger(__name__)

MOST_DEATHS: Final = 5
"""Workers that may die over one range, or one after the other before they are ready."""

START_SECONDS: Final = 300.0
"""Longest time without any worker: it may have to wait for room on the cluster, which may have to grow."""

_PATIENT_SECONDS: Final = 20.0
"""Without any worker, after which the wait is said."""

_STOP_SECONDS: Final = 5.0
"""For workers to write what they have embedded; those that take longer are ended."""

_CLOSE_SECONDS: Final = 3.0

_LINGERING_SECONDS: Final = 75.0
"""Locks of a worker whose machine has vanished are held by the server for up to a minute."""

_TICK_SECONDS: Final = 1.0


@dataclass(eq=False, slots=True)
class _Hired:
    number: int
    member: Member
    node: str = ""
    ready: bool = False
    embeds: range | None = None
    load_seconds: float = 0.0
    chunks: int = 0


@dataclass(slots=True)
class Ledger:
    """What was done so far.

    Attributes:
        parts: the statistics of each range, and of each space written to.
        load_seconds: the longest that a worker loaded the model.
        began: when the first range was handed out; None: none was.
        workers: that embedded beside each other.
        busy: prefixes that are due and were left to other runs.
    """

    parts: list[EmbeddingStats] = field(default_factory=list)
    load_seconds: float = 0.0
    began: float | None = None
    workers: int = 0
    busy: set[str] = field(default_factory=set)


class Driver:
    """One run over a cluster.

    Args:
        load: what is to be embedded.
        cluster: where.
        layout: by how many workers.
        order: what each is to do.
        advance: called with the number of chunks just finished.
    """

    def __init__(
        self, load: Load, cluster: Cluster, layout: Layout, order: Order, advance: Callable[[int], object]
    ) -> None:
        self.ledger = Ledger()
        self._load = load
        self._column = load.selection.column
        self._cluster = cluster
        self._layout = layout
        self._order = order
        self._advance = advance
        self._answers: queue.SimpleQueue[tuple[_Hired, str, object]] = queue.SimpleQueue()
        self._workers: list[_Hired] = []
        self._hired = 0
        self._left: deque[range] = deque()
        self._busy: list[range] = []
        self._deaths: Counter[range] = Counter()
        self._stillborn = 0
        self._last_death: float | None = None
        self._may_write = load.before_writing is None
        self._shown = 0

    def execute(self) -> None:
        """Embed all that is due and that no other run works on; what was done is in ``ledger``, also after an error.

        Raises:
            EmbeddingAssetsError: the run cannot go on; workers have stopped, and what they had embedded is written.
        """
        self._plan(due_by_bucket(self._load.database, self._column, self._load.prefixes.buckets))
        workers = min(self._layout.workers, len(self._left))
        check_connections(self._load.database, workers, self._order.pool_size)
        try:
            for _ in range(workers):
                self._hire()
            self._work_off()
        except BaseException:
            self._stop()
            raise
        else:
            self._dismiss()

    def _plan(self, due: dict[int, int]) -> None:
        most = self._load.settings.embedding.window_size
        self._left = deque(plan_ranges(due, self._layout.workers, most_chunks=most))

    def _hire(self) -> None:
        self._hired += 1
        worker = _Hired(self._hired, self._cluster.hire(self._order, self._layout))
        self._workers.append(worker)
        self._ask(worker, "place")

    def _ask(self, worker: _Hired, method: str, *arguments: object) -> None:
        worker.member.ask(method, *arguments, answer=lambda answer: self._answers.put((worker, method, answer)))

    def _work_off(self) -> None:
        seen = time.monotonic()
        said = False
        while self._left or self._under_way() or self._ask_again():
            with suppress(queue.Empty):
                self._note(*self._answers.get(timeout=_TICK_SECONDS))
            check_stopped()
            # One that loads its model counts: that may have to be fetched.
            if any(worker.node for worker in self._workers):
                seen = time.monotonic()
            elif not said and time.monotonic() - seen > _PATIENT_SECONDS:
                said = True
                logger.info("waiting for the cluster to start a worker; `ray status` says what holds its CPUs and GPUs")
            elif time.monotonic() - seen > START_SECONDS:
                raise ClusterError(
                    f"no worker of {self._layout.cpus} CPUs and {self._layout.gpus:g} GPUs could start within "
                    f"{START_SECONDS:.0f} s; see `ray status` for what holds the cluster's"
                )

    def _under_way(self) -> bool:
        return any(worker.embeds for worker in self._workers)

    def _note(self, worker: _Hired, method: str, answer: object) -> None:
        if isinstance(answer, WorkerLost):
            self._bury(worker, answer)
        elif isinstance(answer, Place):
            check_place(answer, Place.here())
            worker.node = answer.node
            if self._may_write:
                self._ask(worker, "allow")
            self._ask(worker, "prepare")
            self._ask(worker, "report")
        elif isinstance(answer, Report):
            self._note_report(worker, answer)
            self._ask(worker, "report")
        elif isinstance(answer, Outcome):
            if method == "embed":
                self._note_embedded(worker, answer)
            if answer.error is not None:
                raise answer.error
            if method == "prepare":
                worker.ready, worker.load_seconds, self._stillborn = True, answer.load_seconds, 0
                self.ledger.load_seconds = max(self.ledger.load_seconds, answer.load_seconds)
            self._assign(worker)

    def _note_embedded(self, worker: _Hired, outcome: Outcome) -> None:
        self.ledger.parts += outcome.stats
        self.ledger.workers = max(self.ledger.workers, sum(bool(one.embeds) for one in self._workers))
        worker.chunks += sum(stats.embedded for stats in outcome.stats)
        own = self._column.space.name
        if worker.embeds is not None and any(part.busy_prefixes for part in outcome.stats if part.space == own):
            self._busy.append(worker.embeds)
        worker.embeds = None

    def _assign(self, worker: _Hired) -> None:
        if worker.ready and worker.embeds is None and self._left:
            if self.ledger.began is None:
                self.ledger.began = time.monotonic()
            worker.embeds = self._left.popleft()
            self._ask(worker, "embed", worker.embeds.start, worker.embeds.stop - 1)

    def _note_report(self, worker: _Hired, report: Report) -> None:
        self._pass_on(worker, report)
        if report.asks_to_write and not self._may_write:
            if self._load.before_writing is not None:
                self._load.before_writing()
            self._may_write = True
            for other in self._workers:
                self._ask(other, "allow")

    def _pass_on(self, worker: _Hired, report: Report) -> None:
        for record in report.records:
            logger_of = logging.getLogger(record["name"])
            if logger_of.isEnabledFor(record["levelno"]):
                logger_of.handle(logging.makeLogRecord({**record, "worker": worker.number, "node": worker.node}))
        if report.dropped:
            logger.warning("worker %d logged more than can be kept; %d lines are lost", worker.number, report.dropped)
        # What a worker had not written when it died is done twice.
        news = min(report.advanced, self._load.due - self._shown)
        if news > 0:
            self._shown += news
            self._advance(news)

    def _bury(self, worker: _Hired, lost: WorkerLost) -> None:
        """Another takes the place of a worker that died, and another its range."""
        if worker not in self._workers:
            return  # each question it was asked is answered by its death
        self._workers.remove(worker)
        worker.member.dismiss()
        if lost.lacks_package:
            raise ConfigurationError(
                f"a node of the cluster cannot import embedding-assets {self._package()}; install it on every node: "
                f"pip install 'embedding-assets[ray]=={self._package()}'"
            )
        self._last_death = time.monotonic()
        where = f"worker {worker.number} on {worker.node or 'a node'}"
        if worker.embeds is None:
            logger.warning("%s died: %s", where, lost.reason)
            self._stillborn += not worker.ready
        else:
            logger.warning(
                "%s died: %s; what it had not written is embedded by another, what it had is not in this run's counts",
                where,
                lost.reason,
            )
            self._deaths[worker.embeds] += 1
            self._left.appendleft(worker.embeds)
        if self._stillborn >= MOST_DEATHS or (worker.embeds and self._deaths[worker.embeds] >= MOST_DEATHS):
            raise ClusterError(
                f"{MOST_DEATHS} workers died one after the other, the last on {worker.node or 'a node'}: {lost.reason} "
                "Often it is memory: ask for fewer workers, or see Ray's logs"
            )
        self._hire()
        for other in self._workers:
            self._assign(other)

    def _package(self) -> str:
        return Place.here().package

    def _ask_again(self) -> bool:
        """Hand out what other runs held and have let go meanwhile; False if there is none: nothing is left to do."""
        while self._busy:
            asked = {bucket for part in self._busy for bucket in part}
            due = due_by_bucket(self._load.database, self._column, self._load.prefixes.buckets)
            due = {bucket: count for bucket, count in due.items() if bucket in asked}
            held = busy_buckets(self._load.database, self._column.space.name)
            self._busy = [range(bucket, bucket + 1) for bucket in due if bucket in held]
            if free := {bucket: count for bucket, count in due.items() if bucket not in held}:
                self._plan(free)
                for worker in self._workers:
                    self._assign(worker)
                return True
            # They may be those of a worker whose machine is gone.
            if self._last_death is None or time.monotonic() - self._last_death > _LINGERING_SECONDS:
                break
            time.sleep(_TICK_SECONDS)
        length = self._load.settings.embedding.prefix_length
        self.ledger.busy = {format(bucket, "02x")[:length] for part in self._busy for bucket in part}
        return False

    def _stop(self) -> None:
        """End all workers within seconds, those that can with what they have embedded written."""
        embedding = [worker for worker in self._workers if worker.embeds is not None]
        try:
            for worker in embedding:
                self._ask(worker, "stop")
            deadline = time.monotonic() + _STOP_SECONDS
            while any(worker.embeds for worker in embedding) and time.monotonic() < deadline:
                with suppress(queue.Empty):
                    worker, _, answer = self._answers.get(timeout=0.1)
                    if isinstance(answer, Outcome) and worker.embeds is not None:
                        self._note_embedded(worker, answer)
                    elif isinstance(answer, WorkerLost):
                        worker.embeds = None
                    elif isinstance(answer, Report):
                        self._pass_on(worker, answer)
                        self._ask(worker, "report")
        finally:
            for worker in self._workers:
                worker.member.dismiss()

    def _dismiss(self) -> None:
        try:
            closing = set(self._workers)
            for worker in self._workers:
                logger.info("worker %d on %s embedded %d chunks", worker.number, worker.node, worker.chunks)
                self._ask(worker, "close")
            deadline = time.monotonic() + _CLOSE_SECONDS
            while closing and time.monotonic() < deadline:
                with suppress(queue.Empty):
                    worker, method, answer = self._answers.get(timeout=0.1)
                    if method == "close" or isinstance(answer, WorkerLost):
                        closing.discard(worker)
                    elif isinstance(answer, Report):
                        self._pass_on(worker, answer)
        finally:
            for worker in self._workers:
                worker.member.dismiss()
