"""How long things take to start: each in fresh processes that take turns. Run: make bench-startup"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from environments import HERE
from report import Aim, Result, Row, interleave, publish
from texts import demo_model_folder, full_size_mpnet
from workers import offline_environment

TEXT = "The quick brown fox jumps over the lazy dog."

DEFINITIONS = "from embedding_assets.definitions import defs; defs.get_repository_def()"
OUR_VECTOR = f"""
from embedding_assets.config import get_settings
from embedding_assets.providers.space_selection import create_provider
[batch] = create_provider(get_settings()).embed([{TEXT!r}])
assert batch.vectors.shape[0] == 1
"""
PLAIN_VECTOR = f"""
import os
from sentence_transformers import SentenceTransformer
model = SentenceTransformer(os.environ["EMBEDDING_MODEL_NAME"], device="cpu")
assert model.encode([{TEXT!r}]).shape[0] == 1
"""
LAST_WORDS = """
import json, sys, time
from peak import peak_memory_mb
print(json.dumps({"torch": "torch" in sys.modules, "peak": peak_memory_mb(), "cpu": time.process_time()}))
"""


@dataclass(frozen=True)
class Start:
    """One thing to start: a program, the model it reads, whether it is this package's."""

    label: str
    program: str
    model: str = ""
    ours: bool = False


STARTS = (
    Start("python alone", ""),
    Start("import embedding_assets", "import embedding_assets", ours=True),
    Start("import dagster", "import dagster"),
    Start("Dagster definitions of embedding_assets", DEFINITIONS, ours=True),
    Start("first vector, small model: sentence-transformers", PLAIN_VECTOR, "small"),
    Start("first vector, small model: embedding_assets", OUR_VECTOR, "small", ours=True),
    Start("first vector, full size: sentence-transformers", PLAIN_VECTOR, "full"),
    Start("first vector, full size: embedding_assets", OUR_VECTOR, "full", ours=True),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="ea-bench-"))
    try:
        full_size_mpnet(folder / "mpnet")
        publish(compare(folder, arguments.rounds))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def compare(folder: Path, rounds: int) -> Result:
    """Start everything in turn."""
    models = {
        "": {},
        "small": {"EMBEDDING_MODEL_NAME": str(demo_model_folder()), "EMBEDDING_DIMENSIONS": "384"},
        "full": {"EMBEDDING_MODEL_NAME": str(folder / "mpnet")},
    }
    last_words: dict[str, dict[str, object]] = {}

    def timed(start: Start) -> Callable[[], float]:
        def run() -> float:
            seconds, last_words[start.label] = wall_seconds(start.program, models[start.model], folder)
            return seconds

        return run

    ways = {start.label: timed(start) for start in STARTS}
    for way in ways.values():
        way()  # from here on all files are in the page cache, for everyone
    values = interleave(ways, rounds)
    rows = [
        Row(
            start.label,
            values[start.label],
            float(str(last_words[start.label]["peak"])),
            _note(last_words[start.label]),
            start.ours,
        )
        for start in STARTS
    ]
    with_torch = [start.label for start in STARTS[1:4] if start.ours and last_words[start.label]["torch"]]
    theirs, ours = (
        statistics.median(values[f"first vector, full size: {name}"])
        for name in ("sentence-transformers", "embedding_assets")
    )
    return Result(
        name="startup",
        title="From starting Python to being done, in fresh processes",
        unit="s",
        rows=rows,
        aims=[
            Aim("imports of the package and its definitions that load torch", len(with_torch), 0, at_most=True),
            Aim(
                "of the time of sentence-transformers to the first vector, full size",
                round(ours / theirs, 2),
                0.5,
                at_most=True,
            ),
        ],
        facts={"rounds": rounds, "files": "in the page cache", "first vector": "of one sentence, on the CPU"},
        lower_is_better=True,
    )


def _note(words: dict[str, object]) -> str:
    return f"{float(str(words['cpu'])):.1f} s of CPU{', loads torch' if words['torch'] else ''}"


def wall_seconds(program: str, settings: dict[str, str], folder: Path) -> tuple[float, dict[str, object]]:
    """From starting the interpreter until the program is done, and its own last words."""
    environment = offline_environment(
        {"EMBEDDING_DEVICE": "cpu", "EMBEDDING_DATA_DIR": str(folder / "data"), "PYTHONPATH": str(HERE), **settings}
    )
    command = [sys.executable, "-c", f"{program}\nprint(flush=True)\n{LAST_WORDS}"]
    started = time.perf_counter()
    with subprocess.Popen(
        command, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        seconds = time.perf_counter() - started
        lines = process.stdout.read().splitlines()
    if process.returncode or not first:
        raise SystemExit(f"ended with status {process.returncode}: {program}")
    return seconds, json.loads(lines[-1])


if __name__ == "__main__":
    main()
