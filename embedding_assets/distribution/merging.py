"""The statistics of many ranges as those of one run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from embedding_assets.models import EmbeddingStats, PrefixStats

if TYPE_CHECKING:
    from collections.abc import Iterable


def merge_stats(
    space: str,
    parts: Sequence[EmbeddingStats],
    *,
    workers: int = 1,
    seconds: float,
    load_seconds: float = 0.0,
    busy_prefixes: Iterable[str] = (),
) -> EmbeddingStats:
    """Add up what workers did in one space.

    Args:
        space: its name.
        parts: the statistics of each range.
        workers: that embedded beside each other.
        seconds: the run's, on the clock: workers embed beside each other.
        load_seconds: the longest that a worker loaded the model before its first range.
        busy_prefixes: what was left to other runs in the end.

    Returns:
        Counts are sums. Load time and peak memory are the highest of any worker; threads and streams those of one, for
        each worker.
    """
    prefixes: dict[str, Counter[str]] = {}
    for part in parts:
        for prefix, counts in part.prefixes.items():
            prefixes.setdefault(prefix, Counter()).update(counts.model_dump())
    worked = [part for part in parts if part.device]
    return EmbeddingStats(
        space=space,
        embedded=sum(part.embedded for part in parts),
        failed=sum(part.failed for part in parts),
        skipped=sum(part.skipped for part in parts),
        truncated=sum(part.truncated for part in parts),
        tokens=sum(part.tokens for part in parts),
        usd=sum(part.usd for part in parts),
        seconds=seconds,
        model_load_seconds=max([load_seconds, *(part.model_load_seconds for part in parts)]),
        peak_memory_bytes=max((part.peak_memory_bytes for part in parts), default=0),
        device=" and ".join(sorted({part.device for part in worked})),
        precision=" and ".join(sorted({part.precision for part in worked if part.precision})),
        threads=workers * max((part.threads for part in parts), default=0),
        streams=workers * max((part.streams for part in parts), default=0),
        busy_prefixes=sorted(busy_prefixes),
        prefixes={prefix: PrefixStats(**counts) for prefix, counts in sorted(prefixes.items())},
    )
