"""Encoding speed: a full-size MPNet on real chunks, ours against every other way to run it and against the ceiling.

Each way is a process of its own, the peers' in an environment of their own; they take turns. All get the same texts,
in hash order as a table gives them, and their vectors are compared with those of plain float32 ``encode``. Where the
CPU has AMX a second comparison imitates one without. Run: make bench-encode
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from environments import PeerUnavailableError, peer_python
from report import Aim, Result, Row, cpu_flags, cpu_kind, interleave, print_result, publish
from texts import MAX_TOKENS, default_model_folder, full_size_mpnet, real_chunks
from tokenizers import Tokenizer
from workers import Worker, run_module

REFERENCE = "list"
CEILING = "ceiling"
PAUSE_SECONDS = 0.5

# oneDNN's names; what it calls AVX512_CORE has neither AMX nor any bfloat16 arithmetic.
IMITATED = "AVX512_CORE"

BFLOAT16 = {"amx_bf16", "avx512_bf16"}
"""What Linux calls the instructions for it."""


@dataclass(frozen=True)
class Way:
    """One way to encode.

    Attributes:
        key: what ``--only`` calls it.
        label: what the report calls it.
        module: its program in ``peers/``.
        precision: ``float32``, ``bfloat16``, or ``best`` for what suits the CPU.
        tuned: whether the best batch size is looked for; else it is 32.
        portion: texts handed over at once; 0 for all.
        environment: the virtual environment it needs; empty for ours.
        exporter: the program that makes its model, and the environment that needs.
    """

    key: str
    label: str
    module: str
    precision: str = "float32"
    tuned: bool = False
    portion: int = 0
    environment: str = ""
    exporter: str = ""


WAYS = (
    Way("loop", "the usual loop: fetch 32, encode", "plain", portion=32),
    Way(REFERENCE, "encode, whole list, float32", "plain"),
    Way("list-tuned", "encode, whole list, float32, best batch", "plain", tuned=True),
    Way("bf16", "encode, whole list, bfloat16", "plain", precision="bfloat16"),
    Way("bf16-tuned", "encode, whole list, bfloat16, best batch", "plain", precision="bfloat16", tuned=True),
    Way("openvino", "OpenVINO backend, best batch", "openvino", "best", True, 0, "openvino", "openvino"),
    Way("onnx", "ONNX backend, best batch", "onnx", "float32", True, 0, "onnx", "onnx"),
    Way("fastembed", "fastembed, best batch", "fastembed", "float32", True, 0, "fastembed", "onnx"),
    Way("ours", "embedding_assets", "ours", "best"),
    Way(CEILING, "ceiling: the matrix products alone", "products", "best"),
)


@dataclass(frozen=True)
class Inputs:
    """What all ways get, and where their vectors go."""

    folder: Path
    chunks: int
    characters: int
    tokens: int
    flop: float

    @property
    def texts(self) -> Path:
        return self.folder / "texts.json"

    def vectors(self, way: Way) -> Path:
        return self.folder / f"{way.key}.npy"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="rounds of the comparison; the imitation has two thirds")
    parser.add_argument(
        "--chunks", type=int, help="texts; default 128 on a CPU (the loop then takes a minute), else 2048"
    )
    parser.add_argument("--only", help=f"print some alone: {', '.join(way.key for way in WAYS)}")
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu", help="the peers of other runtimes are CPU only"
    )
    parser.add_argument(
        "--cpu", choices=("both", "native", "imitated"), default="both", help="with AMX, without, or both"
    )
    arguments = parser.parse_args()
    names = set(arguments.only.split(",")) if arguments.only else {way.key for way in WAYS}
    ways = [way for way in WAYS if way.key in names]
    if len(ways) < len(names):
        parser.error(f"--only knows {', '.join(way.key for way in WAYS)}")
    show = print_result if arguments.only else publish  # a part must not replace the whole
    folder = Path(tempfile.mkdtemp(prefix="ea-bench-"))
    try:
        inputs = prepare(folder, arguments.chunks or (128 if arguments.device == "cpu" else 2048))
        if arguments.device == "cuda":
            show(compare(inputs, ways, arguments.rounds, device="cuda"))
            return
        if arguments.cpu != "imitated":
            show(compare(inputs, ways, arguments.rounds))
        if arguments.cpu == "imitated" or (arguments.cpu == "both" and "amx_bf16" in cpu_flags()):
            show(compare(inputs, ways, max(1, arguments.rounds * 2 // 3), imitated=True))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def prepare(folder: Path, count: int) -> Inputs:
    """Make the model and the texts."""
    note("making the model")
    full_size_mpnet(folder / "mpnet")
    texts = sorted(real_chunks(count), key=lambda text: hashlib.sha256(text.encode()).hexdigest())
    (folder / "texts.json").write_text(json.dumps(texts))
    tokenizer = Tokenizer.from_file(str(folder / "mpnet" / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    lengths = [len(encoding) for encoding in tokenizer.encode_batch_fast(texts)]
    characters = sum(map(len, texts))
    return Inputs(folder, count, characters, sum(lengths), sum(map(mpnet_flop, lengths)))


def mpnet_flop(tokens: int) -> float:
    """Operations of MPNet-base's matrix products on one text: projections, feed-forward, attention's two products."""
    layers, width, inner = 12, 768, 3072
    return layers * 2 * (tokens * (4 * width * width + 2 * width * inner) + 2 * tokens * tokens * width)


def compare(inputs: Inputs, ways: Iterable[Way], rounds: int, *, imitated: bool = False, device: str = "cpu") -> Result:
    """Start every way, let them take turns, compare what they made."""
    environment = {"ONEDNN_MAX_CPU_ISA": IMITATED} if imitated else {}
    best = "bfloat16" if device == "cuda" or (cpu_flags() & BFLOAT16 and not imitated) else "float32"
    ways = [replace(way, precision=best) if way.precision == "best" else way for way in ways]
    refused: dict[str, str] = {}
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for way in ways:
            note(f"starting: {way.label}")
            try:
                workers[way.key] = stack.enter_context(start(way, inputs, environment, device))
            except PeerUnavailableError as error:
                refused[way.key] = str(error)
                note(f"  {error}")

        def timed(key: str) -> Callable[[], float]:
            def run() -> float:
                time.sleep(PAUSE_SECONDS)  # until the last one's threads have stopped spinning
                seconds: float = workers[key].run()["seconds"]
                return inputs.chunks / seconds

            return run

        values = interleave({key: timed(key) for key in workers}, rounds)
        rows = {
            way.key: Row(
                label=way.label,
                rounds=values.get(way.key, []),
                peak_memory_mb=workers[way.key].peak_memory_mb if way.key in workers and way.key != CEILING else None,
                note=refused.get(way.key) or remark(way, workers[way.key].facts, values[way.key], inputs),
                ours=way.key == "ours",
            )
            for way in ways
        }
        device_name = str(workers[CEILING].facts["device_name"] if CEILING in workers else device)
        versions = {
            f"versions ({way.module})": ", ".join(
                f"{name} {at}" for name, at in workers[way.key].facts["versions"].items()
            )
            for way in ways
            if way.key in workers and way.module != "products"
        }
    facts: dict[str, object] = {
        "chunks": inputs.chunks,
        "mean characters": round(inputs.characters / inputs.chunks),
        "mean tokens": round(inputs.tokens / inputs.chunks),
        "GFLOP a chunk": round(inputs.flop / inputs.chunks / 1e9, 1),
        "weights": "all-mpnet-base-v2" if default_model_folder() else "random",
        "precision of ours": best,
        "rounds": rounds,
        **versions,
    }
    if imitated:
        facts["ONEDNN_MAX_CPU_ISA"] = IMITATED
    if imitated:
        suffix, words = "_avx512", ", AMX switched off"
    elif device == "cuda":
        suffix, words = "_cuda", f", {device_name}"
    else:
        # So that a machine of another kind does not replace what was measured with AMX.
        suffix, words = {"amx": ("", ""), "amd": ("_amd", ", AMD"), "intel": ("_intel", ", Intel without AMX")}[
            cpu_kind()
        ]
    return Result(
        name=f"encode{suffix}",
        title=f"Encoding: full-size MPNet, 500-character chunks{words}",
        unit="chunks/s",
        rows=list(rows.values()),
        aims=[] if imitated or device == "cuda" else aims(rows),
        facts=facts,
    )


def start(way: Way, inputs: Inputs, environment: Mapping[str, str], device: str) -> Worker:
    """The way's worker, its environment and its model made if need be.

    Raises:
        PeerUnavailableError: it cannot be run here.
    """
    if way.environment and device != "cpu":
        raise PeerUnavailableError("measured on a CPU only")
    if way.key == "bf16-tuned" and environment:
        raise PeerUnavailableError("not tried: without hardware for it bfloat16 is slower than float32, as above")
    if way.key in ("bf16", "bf16-tuned") and device == "cpu" and not cpu_flags() & BFLOAT16:
        raise PeerUnavailableError("not tried: this CPU has no hardware for it, without which it takes minutes")
    python = peer_python(way.environment) if way.environment else Path(sys.executable)
    if way.key == CEILING:
        job: dict[str, object] = {"flop": inputs.flop, "precision": way.precision, "device": device}
        return Worker(way.module, job, python=python, environment=environment)
    job = {
        "model": str(export(way, inputs.folder) if way.exporter else inputs.folder / "mpnet"),
        "texts": str(inputs.texts),
        "vectors": str(inputs.vectors(way)),
        "precision": way.precision,
        "batch_sizes": ([8, 4, 16, 32] if device == "cpu" else [128, 32, 64, 256]) if way.tuned else [32],
        "device": device,
        "portion": way.portion,
    }
    settings = {"EMBEDDING_PRECISION": way.precision} if environment else {}
    return Worker(way.module, job, python=python, environment={**environment, **settings})


def export(way: Way, folder: Path) -> Path:
    """The model as the way's runtime reads it; converted once, in a process of its own for the memory this takes."""
    out = folder / way.exporter
    if not out.exists():
        # The ONNX environment's older release reads the bare transformer, but no folder written by ours.
        source = folder / ("mpnet-base" if way.exporter == "onnx" else "mpnet")
        run_module(way.exporter, "export", str(source), str(out), python=peer_python(way.exporter))
    return out


def remark(way: Way, facts: Mapping[str, object], rates: list[float], inputs: Inputs) -> str:
    """What a reader must know of a way that ran."""
    if way.key == CEILING:
        gflops = statistics.median(rates) * inputs.flop / inputs.chunks / 1e9
        return f"{way.precision}, {gflops:,.0f} GFLOP/s"
    words = [way.precision] if way.key != "ours" else []
    if way.tuned:
        words.append(f"batch {facts['batch_size']}")
    reference = inputs.folder / f"{REFERENCE}.npy"
    if reference.exists() and way.key != REFERENCE:
        cosines = cosine(np.load(inputs.vectors(way)), np.load(reference))
        words.append(f"cosine ≥ {floor(cosines.min())}, mean {floor(cosines.mean())}")
    return ", ".join(words)


def cosine(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Cosine of each row with the other array's, in float64."""
    left, right = left.astype(np.float64), right.astype(np.float64)
    return (left * right).sum(1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)


def floor(value: float) -> str:
    """Six decimals, never rounded up to a claim."""
    return f"{np.floor(min(value, 1.0) * 1e6) / 1e6:.6f}"


def aims(rows: Mapping[str, Row]) -> list[Aim]:
    """What the issue of speed asks for; NaN where a way is missing."""

    def median(key: str) -> float:
        value = rows[key].median if key in rows else None
        return float("nan") if value is None else value

    ours = median("ours")
    others = [row.median for key, row in rows.items() if key not in ("ours", CEILING) and row.median is not None]
    return [
        Aim("times the usual loop", ours / median("loop"), 20),
        Aim("times the fastest other way", ours / max(others, default=float("nan")), 1.4),
        Aim("share of the ceiling", ours / median(CEILING), 0.55),
    ]


def note(text: str) -> None:
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
