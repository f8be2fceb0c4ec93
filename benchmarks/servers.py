"""A PostgreSQL of the benchmark's own, gone afterwards."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedding_assets.postgres.server.embedded import start_embedded_server, stop_embedded_server


@contextmanager
def own_server() -> Iterator[str]:
    """Start an embedded server; gives its URL."""
    folder = Path(tempfile.mkdtemp(prefix="ea-bench-"))
    folder.chmod(0o755)  # a server that root starts runs as another user
    try:
        yield start_embedded_server(folder / "data")
    finally:
        stop_embedded_server(folder / "data")
        shutil.rmtree(folder, ignore_errors=True)
