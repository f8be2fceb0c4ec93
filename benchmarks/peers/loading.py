"""What the ways to read and split files share. The command names a way: by a format, or what begins with one."""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from peers.serve import Answer, serve

WARM = "warm"

Ways = Mapping[str, Callable[[Path], list[str]]]
"""Name → what makes the texts of chunks, as they would be embedded, from the files in a folder of that name."""


@dataclass(frozen=True)
class Job:
    """What a way is to do; given as JSON in the first argument.

    Attributes:
        folder: holds a folder of files for each format, and in ``WARM`` those of a few that are read before.
        tokenizer: file with the model's tokenizer.
        chunk_tokens: most tokens of a chunk, the model's special ones included.
        niceness: how far this process stands back behind others.
    """

    folder: str
    tokenizer: str
    chunk_tokens: int
    niceness: int

    @property
    def formats(self) -> list[str]:
        """Those that there are files of."""
        return sorted(path.name for path in Path(self.folder, WARM).iterdir())

    def read_tokenizer(self) -> Tokenizer:
        """The tokenizer, which counts all of a text."""
        tokenizer = Tokenizer.from_file(self.tokenizer)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer


def serve_loading(prepare_ways: Callable[[Job], Ways], *packages: str) -> None:
    """Make the ways ready, then read and split the files of a format on command.

    Args:
        prepare_ways: makes the ways.
        packages: distributions whose versions are worth knowing.
    """
    job = Job(**json.loads(sys.argv[1]))
    os.nice(job.niceness)

    def prepare() -> tuple[Answer, Callable[[str], Answer]]:
        tokenizer = job.read_tokenizer()
        ways = prepare_ways(job)
        for name, way in ways.items():
            way(Path(job.folder, WARM, name))
        chunks: dict[str, Answer] = {}

        def work(command: str) -> Answer:
            started = time.perf_counter()
            texts = ways[command](Path(job.folder, command))
            seconds = time.perf_counter() - started
            if command not in chunks:
                chunks[command] = _described(tokenizer, texts)
            return {"seconds": seconds, "chunks": chunks[command]}

        return {"versions": {name: importlib.metadata.version(name) for name in packages}}, work

    serve(prepare)


def _described(tokenizer: Tokenizer, texts: list[str]) -> Answer:
    tokens = [len(encoding) for encoding in tokenizer.encode_batch(texts)]
    return {"count": len(texts), "most tokens": max(tokens), "tokens": sum(tokens)}
