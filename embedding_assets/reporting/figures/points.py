"""What the figures are drawn from: plain numbers, whoever counted or measured them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol


class RunPoint(Protocol):
    """One finished run: what is needed of a ``PastRun``."""

    @property
    def finished_at(self) -> datetime:
        """When, with a time zone."""
        ...

    @property
    def embedded(self) -> int:
        """Chunks it embedded."""
        ...

    @property
    def chunks_per_second(self) -> float:
        """Without loading the model."""
        ...

    @property
    def device(self) -> str:
        """Where it computed, e.g. ``cpu``, or whose API it asked."""
        ...


class CurvePoint(Protocol):
    """Recall and latency of the index at one ``ef_search``."""

    @property
    def ef_search(self) -> int:
        """Candidates examined by a search."""
        ...

    @property
    def recall(self) -> float:
        """recall@10 against exact search, 0 to 1."""
        ...

    @property
    def recall_low(self) -> float:
        """Lower end of the 95% confidence interval of ``recall``."""
        ...

    @property
    def recall_high(self) -> float:
        """Its upper end."""
        ...

    @property
    def p50_milliseconds(self) -> float:
        """Median latency of a search."""
        ...

    @property
    def p95_milliseconds(self) -> float:
        """Latency that 95% of the searches stay below."""
        ...


def nearest(curve: Sequence[CurvePoint], ef_search: int) -> CurvePoint:
    """The measured point to tell of: the one in use, or the next one to it.

    Args:
        curve: at least one point.
        ef_search: the one in use.
    """
    return min(curve, key=lambda point: abs(point.ef_search - ef_search))
