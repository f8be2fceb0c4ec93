"""This package's loading into its table, as ``embedding-assets load`` does it; the database by EMBEDDING_DATABASE_URL.

Commands: ``load`` loads the folder of the job into an emptied table, ``again`` once more as it is, ``read`` only reads
all of its files. The answer's peak is that of this process and all it started, together.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

import psutil

from embedding_assets.config import get_settings
from embedding_assets.documents.file_loading import LoadOptions, load_files
from embedding_assets.documents.loading import configured_splitter
from embedding_assets.documents.roots import find_roots
from embedding_assets.postgres.bootstrap import open_database
from embedding_assets.postgres.connection import Database
from peers.serve import Answer, serve

SAMPLE_SECONDS = 0.05
EMPTY = "TRUNCATE knowledge_base, loaded_documents, loaded_collections CASCADE"


def main() -> None:
    path = json.loads(sys.argv[1])["path"]
    with ExitStack() as stack:

        def prepare() -> tuple[Answer, Callable[[str], Answer]]:
            settings = get_settings()
            database = stack.enter_context(open_database(settings))
            splitter = configured_splitter(settings, database)

            def load() -> Answer:
                return asdict(load_files(database, find_roots(database, [path], None), splitter, LoadOptions()))

            def work(command: str) -> Answer:
                if command == "load":
                    database.run(lambda connection: connection.execute(EMPTY))
                peaks: list[int] = []
                started = time.perf_counter()
                with sampled(peaks):
                    report = {"read": lambda: read(path), "load": load, "again": load}[command]()
                seconds = time.perf_counter() - started
                return {"seconds": seconds, "report": report, "tree_mb": max(peaks) / 1e6, "chunks": rows(database)}

            return {}, work

        serve(prepare)


def read(path: str) -> Answer:
    """Read the texts of all files in a folder, as most programs would."""
    texts = [file.read_text(encoding="utf-8") for file in Path(path).rglob("*.md")]
    return {"documents": len(texts), "characters": sum(map(len, texts))}


def rows(database: Database) -> int:
    """Chunks in the table."""
    row = database.run(lambda connection: connection.execute("SELECT count(*) FROM knowledge_base").fetchone())
    assert row is not None
    return int(row[0])


@contextmanager
def sampled(peaks: list[int]) -> Iterator[None]:
    """Watch the resident memory of this process and its children, added up; what they share counts for each of them."""
    over = threading.Event()

    def watch() -> None:
        own = psutil.Process()
        while True:
            total = own.memory_info().rss
            for child in own.children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    total += child.memory_info().rss
            peaks.append(total)
            if over.wait(SAMPLE_SECONDS):
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


if __name__ == "__main__":
    main()
