"""What the ways to fill a pgvector table from texts share."""

from __future__ import annotations

import importlib.metadata
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from peers.serve import Answer, serve

DIMENSIONS = 768
TABLE = "chunks"


@dataclass(frozen=True)
class Job:
    """What a way is to do; given as JSON in the first argument.

    Attributes:
        model: folder of a sentence-transformers model.
        texts: JSON file with a list of texts.
        socket: folder of the server's unix socket.
        database: an empty database of its own, with pgvector.
    """

    model: str
    texts: str
    socket: str
    database: str

    def url(self, driver: str) -> str:
        """SQLAlchemy's URL of the database."""
        return f"postgresql+{driver}://postgres@/{self.database}?host={quote(self.socket, safe='')}"


def serve_ingestion(
    load: Callable[[Job], Callable[[], Callable[[list[str]], object]]], *packages: str, warm_texts: int = 8
) -> None:
    """Load the model, then embed all texts into an empty table on command.

    Args:
        load: loads the model; returns a function that empties the table and returns one that fills it.
        packages: distributions whose versions are worth knowing.
        warm_texts: texts ingested before anything is timed.
    """
    job = Job(**json.loads(sys.argv[1]))

    def prepare() -> tuple[Answer, Callable[[str], Answer]]:
        texts = json.loads(Path(job.texts).read_text())
        emptied = load(job)
        emptied()(texts[:warm_texts])

        def work(_: str) -> Answer:
            fill = emptied()
            started = time.perf_counter()
            fill(texts)
            return {"seconds": time.perf_counter() - started}

        return {"versions": {name: importlib.metadata.version(name) for name in packages}}, work

    serve(prepare)
