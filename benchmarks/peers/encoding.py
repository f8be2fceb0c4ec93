"""What all ways to encode share: the job, the search for their best batch size, the clock."""

from __future__ import annotations

import importlib.metadata
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from peers.serve import Answer, serve

SAMPLE_TEXTS = 32

Encode = Callable[[list[str], int], Any]


@dataclass(frozen=True)
class Job:
    """What a way is to do; given as JSON in the first argument.

    Attributes:
        model: folder of the model, in the form the way reads.
        texts: JSON file with a list of texts, in hash order.
        vectors: where to write the vectors: a .npy file of float32, one row a text, in the order of the texts.
        precision: ``float32`` or ``bfloat16``.
        batch_sizes: texts in a forward pass; of several the fastest on a part of the texts is taken.
        device: ``cpu`` or ``cuda``.
        portion: texts handed over at once; 0 for all.
    """

    model: str
    texts: str
    vectors: str
    precision: str
    batch_sizes: list[int]
    device: str = "cpu"
    portion: int = 0


def serve_encoding(load: Callable[[Job], Encode], *packages: str) -> None:
    """Load the model, find the best batch size, encode on command.

    Args:
        load: makes the function (texts, batch size) → vectors.
        packages: distributions whose versions are worth knowing.
    """
    job = Job(**json.loads(sys.argv[1]))

    def prepare() -> tuple[Answer, Callable[[str], Answer]]:
        texts = json.loads(Path(job.texts).read_text())
        encode = load(job)
        batch_size = _fastest_batch_size(encode, texts[:: max(1, len(texts) // SAMPLE_TEXTS)], job.batch_sizes)

        def work(_: str) -> Answer:
            started = time.perf_counter()
            vectors = np.concatenate(
                [encode(texts[i : i + portion], batch_size) for i in range(0, len(texts), portion)]
            )
            seconds = time.perf_counter() - started
            np.save(job.vectors, vectors.astype(np.float32))
            return {"seconds": seconds}

        portion = job.portion or len(texts)
        versions = {name: importlib.metadata.version(name) for name in packages}
        return {"batch_size": batch_size, "versions": versions}, work

    serve(prepare)


def _fastest_batch_size(encode: Encode, texts: list[str], batch_sizes: list[int]) -> int:
    encode(texts, batch_sizes[0])  # what is done only once is no measure of speed
    if len(batch_sizes) == 1:
        return batch_sizes[0]
    seconds = {}
    for batch_size in batch_sizes:
        started = time.perf_counter()
        encode(texts, batch_size)
        seconds[batch_size] = time.perf_counter() - started
    return min(seconds, key=seconds.__getitem__)
