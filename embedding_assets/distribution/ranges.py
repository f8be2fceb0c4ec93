"""Ranges of lock buckets to hand out, planned purely."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

RANGES_PER_WORKER: Final = 4
"""So that a worker that is done early, or comes late, finds something to do."""

FEWEST_CHUNKS: Final = 64
"""A range of fewer costs more in locks and half-filled batches than it spreads the work."""


def plan_ranges(due: Mapping[int, int], workers: int, *, most_chunks: int) -> list[range]:
    """Cover the buckets that have due chunks, neighbours together, by ranges of about the same number of chunks.

    Args:
        due: bucket → its due chunks.
        workers: among whom the ranges are divided.
        most_chunks: of a range, unless one bucket alone has more; a range of more gains nothing.

    Returns:
        The ranges with most chunks first: what is begun last should be short.
    """
    target = max(FEWEST_CHUNKS, -(-sum(due.values()) // (workers * RANGES_PER_WORKER)))
    target = min(target, max(1, most_chunks))
    ranges: list[tuple[int, range]] = []
    collected = 0
    for bucket in sorted(due):
        if ranges and collected + due[bucket] <= target:
            collected += due[bucket]
            ranges[-1] = collected, range(ranges[-1][1].start, bucket + 1)
        else:
            collected = due[bucket]
            ranges.append((collected, range(bucket, bucket + 1)))
    return [part for _, part in sorted(ranges, key=lambda item: (-item[0], item[1].start))]
