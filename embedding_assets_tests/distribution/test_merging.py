"""Statistics of ranges as those of a run."""

from embedding_assets.distribution.merging import merge_stats
from embedding_assets.models import EmbeddingStats, PrefixStats


def part(**values: object) -> EmbeddingStats:
    return EmbeddingStats(space="s", **values)


def test_counts_add_up_and_time_does_not():
    one = part(
        embedded=3, failed=1, tokens=30, usd=0.5, seconds=9, peak_memory_bytes=5, device="cpu", precision="float32",
        threads=2, streams=1,
        prefixes={"0": PrefixStats(embedded=3, failed=1, tokens=30)},
    )  # fmt: skip
    two = part(
        embedded=4, skipped=2, truncated=1, tokens=50, usd=0.25, seconds=9, peak_memory_bytes=7, model_load_seconds=1,
        device="cuda:0", precision="bfloat16", streams=1,
        prefixes={"0": PrefixStats(embedded=1), "1": PrefixStats(embedded=3)},
    )  # fmt: skip
    idle = part()
    merged = merge_stats("s", [one, two, idle], workers=3, seconds=10, load_seconds=4, busy_prefixes={"f", "e"})
    assert merged == part(
        embedded=7, failed=1, skipped=2, truncated=1, tokens=80, usd=0.75, seconds=10, model_load_seconds=4,
        peak_memory_bytes=7, device="cpu and cuda:0", precision="bfloat16 and float32",
        threads=6, streams=3, busy_prefixes=["e", "f"],
        prefixes={"0": PrefixStats(embedded=4, failed=1, tokens=30), "1": PrefixStats(embedded=3)},
    )  # fmt: skip


def test_nothing_done_is_nothing():
    assert merge_stats("s", [], seconds=0) == part()
