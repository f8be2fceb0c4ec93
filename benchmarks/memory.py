"""Peak memory of the local path with a model of the default's size.

Makes a full-size MPNet with random weights (it takes exactly the memory and time of the real one), loads real text
into an embedded PostgreSQL of its own, embeds it through Dagster on the CPU, and reports the run's peak resident
memory. Run: make bench-memory
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from itertools import islice
from pathlib import Path

from report import Aim, Result, Row, publish
from texts import full_size_mpnet

LIMIT_MB = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=60, help="documents of the demo corpus to embed")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="ea-bench-"))
    folder.chmod(0o755)
    os.environ.update(
        EMBEDDING_DATA_DIR=str(folder / "data"), EMBEDDING_MODEL_NAME=str(folder / "mpnet"), EMBEDDING_DEVICE="cpu"
    )
    try:
        full_size_mpnet(folder / "mpnet")
        publish(measure(arguments.documents))
    finally:
        from embedding_assets.postgres.server.embedded import stop_embedded_server

        stop_embedded_server(folder / "data")
        shutil.rmtree(folder, ignore_errors=True)


def measure(documents: int) -> Result:
    """Load, embed through Dagster, read the run's own record."""
    from embedding_assets.cli.corpus import installed_documents
    from embedding_assets.cli.dagster import start_materialization
    from embedding_assets.config import get_settings
    from embedding_assets.documents.loading import configured_splitter, load_documents
    from embedding_assets.postgres.bootstrap import open_database
    from embedding_assets.postgres.runs import latest_run
    from embedding_assets.postgres.spaces import list_spaces

    settings = get_settings()
    with open_database(settings) as database:
        splitter = configured_splitter(settings, database)
        load_documents(database, islice(installed_documents(), documents), splitter)
        log = settings.data_dir / "run.log"
        with log.open("wb") as stream:
            status = start_materialization(settings, stream).wait()
        if status != 0:
            raise SystemExit(log.read_text()[-4000:])
        run = latest_run(database, list_spaces(database)[0].space.name)
    assert run is not None
    peak_mb = run.peak_memory_bytes / 1e6
    return Result(
        name="memory",
        title="Peak memory of a run: full-size MPNet on the CPU, Dagster included",
        unit="MB",
        rows=[Row("embedding_assets, through Dagster", [peak_mb], ours=True)],
        aims=[Aim("megabytes at the peak", peak_mb, LIMIT_MB, at_most=True)],
        facts={
            "chunks": run.embedded,
            "mean tokens": round(run.tokens / run.embedded, 1),
            "chunks/s": round(run.chunks_per_second, 2),
        },
        lower_is_better=True,
    )


if __name__ == "__main__":
    main()
