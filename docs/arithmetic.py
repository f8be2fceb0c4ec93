"""The arithmetic of docs/scaling.md: what some millions of chunks take, from what the benchmarks have measured."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from embedding_assets.formatting import duration
from embedding_assets.postgres.index.size import fresh_index_bytes, graph_memory_mb

AMX = "2 cores with AMX"
SIZES = (1_000_000, 10_000_000, 100_000_000)

Result = Mapping[str, Any]


def bytes_a_chunk(scale: Result) -> str:
    """What a chunk takes on disk, by kind; measured."""
    facts = scale["facts"]
    rows = {
        "table: text, header, metadata": facts["heap"],
        "vector, out of line (TOAST)": facts["toast"],
        "indexes on keys and on what is pending": facts["other_indexes"],
        "vector index, `vector`": facts["vector_index"],
        "write-ahead log of a first load": facts["wal_of_vectors"],
        "write-ahead log of the index build": facts["wal_of_index"],
    }
    lines = ["| bytes a chunk | |", "|---|---:|", *(f"| {name} | {value:,} |" for name, value in rows.items())]
    return "\n".join(lines)


def totals(scale: Result, write: Result, encodings: Mapping[str, Result]) -> str:
    """Hours, gigabytes and connections by the number of chunks; calculated.

    Args:
        scale: of benchmarks/scale.py.
        write: of benchmarks/write.py.
        encodings: what computed, to the result with a row of ours in chunks/s.
    """
    lines = ["| | " + " | ".join(f"{size // 10**6:,} million" for size in SIZES) + " |", "|---|" + "---:|" * len(SIZES)]

    def add(name: str, values: list[str]) -> None:
        lines.append(f"| {name} | {' | '.join(values)} |")

    for name, result in encodings.items():
        [rate] = [row["median"] for row in result["rows"] if row["ours"]]
        add(f"embedding, {name}, {rate:,.1f} chunks/s", [duration(size / rate) for size in SIZES])
    tokens = encodings[AMX]["facts"]["mean tokens"]
    add(
        f"embedding, an API at a million tokens a minute, {tokens} tokens a chunk",
        [duration(60 * size * tokens / 1e6) for size in SIZES],
    )
    add("writing the vectors, one writer", [duration(size / writing_rate(write)) for size in SIZES])
    add("building the index, at least", [duration(build_seconds(scale, size)) for size in SIZES])
    facts, vector_bytes = scale["facts"], 4 * dimensions(scale)
    kept = facts["heap"] + facts["toast"] + facts["other_indexes"]
    add("disk, table and its small indexes", [gigabytes(size * kept) for size in SIZES])
    for kind, taken in (("vector", vector_bytes), ("halfvec", vector_bytes // 2)):
        add(f"disk, vector index on `{kind}`", [gigabytes(fresh_index_bytes(size, taken, 16)) for size in SIZES])
        add("memory to build that", [gigabytes(graph_memory_mb(size, taken, 16) * 2**20) for size in SIZES])
    log = facts["wal_of_vectors"] + facts["wal_of_index"]
    add("write-ahead log of load and build", [gigabytes(size * log) for size in SIZES])
    return "\n".join(lines)


def dimensions(scale: Result) -> int:
    return int(scale["title"].removesuffix(" dimensions").rsplit(maxsplit=1)[1])


def writing_rate(write: Result) -> float:
    """Rows a second of COPY, UPDATE and COMMIT alone."""
    seconds = write["facts"]["seconds_of_the_first_load"]
    rows = int(write["title"].split()[1].replace(",", ""))
    return float(rows / (seconds["COPY"] + seconds["UPDATE"] + seconds["COMMIT"]))


def build_seconds(scale: Result, size: int) -> float:
    """From the largest build that was measured, as if its time grew with n log n, as it does while all is in memory."""
    measured = scale["facts"]["rows"]
    seconds = scale["facts"]["index_seconds"][f"{measured:,} rows"]
    return float(seconds * size * math.log(size) / (measured * math.log(measured)))


def gigabytes(count: float) -> str:
    return f"{count / 1e9:,.0f} GB" if count >= 1e10 else f"{count / 1e9:,.1f} GB"
