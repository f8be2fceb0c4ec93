"""Encoding on a GPU: right vectors, tokens a second, where the time goes. One command, under eight minutes.

A full-size MPNet with random weights and a vocabulary made of the texts, which are Python's own manual: nothing is
fetched. Needs torch, transformers, tokenizers, sentence-transformers, numpy, filelock, pydantic and pydantic-settings,
platformdirs, and this repository on PYTHONPATH; not its database, nor Dagster. Each part is tried by itself; one that
fails is written down with its error, and the others go on.

Run: python benchmarks/gpu.py; without a GPU, to see that it runs: python benchmarks/gpu.py --device cpu --small
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
from gpu_model import MAX_TOKENS, encode, manual, save_model

from embedding_assets.encoder.attention import attend_fused
from embedding_assets.encoder.files import locate_model
from embedding_assets.encoder.model import LoadedModel
from embedding_assets.encoder.tokens import TokenizedText
from embedding_assets.encoder.ways import Way

PARTS = ("correctness", "products", "budgets", "padding", "others", "compiled", "flex", "two")
SECONDS = 480.0


@dataclass
class Bench:
    """What all parts share.

    Attributes:
        device: torch device.
        precision: in which the model computes.
        folder: of the model.
        texts: what is embedded.
        small: whether it only is to be seen that it runs.
        results: by part; what is written in the end.
    """

    device: str
    precision: str
    folder: Path
    texts: list[str]
    small: bool
    results: dict[str, Any] = field(default_factory=dict)

    def load(self, precision: str | None = None, device: str | None = None) -> LoadedModel:
        files = locate_model(str(self.folder), None, data_dir=self.folder, timeout_seconds=1)
        chosen: Any = precision or self.precision
        return LoadedModel(files, device or self.device, MAX_TOKENS, Way("fused", chosen))

    def finish(self) -> None:
        if self.device.startswith("cuda"):
            torch.cuda.synchronize(self.device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--small", action="store_true", help="a small model and few texts")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "gpu.json")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    on_gpu = arguments.device.startswith("cuda")
    precision = "bfloat16" if on_gpu else "float32"
    if arguments.worker:
        folder = Path(arguments.worker)
        bench = Bench(
            arguments.device, precision, folder, json.loads((folder / "texts.json").read_text()), arguments.small
        )
        worker(bench)
        return
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ea-gpu-") as folder:
        texts = manual(200 if arguments.small else 20_000)
        save_model(Path(folder), texts, small=arguments.small)
        bench = Bench(arguments.device, precision, Path(folder), texts, arguments.small)
        (bench.folder / "texts.json").write_text(json.dumps(texts[: 100 if arguments.small else 8000]))
        parts: dict[str, Callable[[Bench], Any]] = {
            "correctness": correctness, "products": products, "budgets": budgets, "padding": padding, "others": others,
            "compiled": compiled, "flex": flex, "two": two_processes,
        }  # fmt: skip
        for name in arguments.parts.split(","):
            left = SECONDS - (time.monotonic() - started)
            begun = time.monotonic()
            try:
                bench.results[name] = parts[name](bench) if left > 20 else "left out: no time was left"
            except Exception as error:  # noqa: BLE001 (the others are to run; what failed is in the results)
                bench.results[name] = f"failed: {type(error).__name__}: {str(error)[:500]}"
            print(f"{name} ({time.monotonic() - begun:.0f} s): {json.dumps(bench.results[name], indent=1)}", flush=True)
    result = {
        "device": torch.cuda.get_device_name(arguments.device) if on_gpu else platform.machine(),
        "remark": "" if on_gpu and not arguments.small else "No GPU was run: this only shows that the parts run.",
        "torch": torch.__version__,
        "precision": precision,
        "seconds": round(time.monotonic() - started),
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        **bench.results,
    }
    arguments.out.parent.mkdir(exist_ok=True, parents=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print_table(result)


def correctness(bench: Bench) -> dict[str, Any]:
    """Cosines of 1,000 texts with those of float32 on the CPU."""
    texts = bench.texts[: 50 if bench.small else 1000]
    reference_model = bench.load("float32", "cpu")
    tokens = reference_model.tokenize(texts)
    reference = encode(reference_model, tokens, 2048, 32)
    answer: dict[str, Any] = {"texts": len(texts)}
    for precision in ("float32", "bfloat16"):
        if precision == "float32":
            torch.backends.cuda.matmul.allow_tf32 = False
        vectors = encode(bench.load(precision), tokens, 32_768, 2048)
        cosines = (vectors.astype(np.float64) * reference).sum(1)
        answer[precision] = {"least cosine": round(float(cosines.min()), 7), "mean": round(float(cosines.mean()), 7)}
    return answer


def products(bench: Bench) -> dict[str, Any]:
    """TFLOP/s of the layers' products alone."""
    dtype = getattr(torch, bench.precision)
    rates = {}
    for rows in (256,) if bench.small else (8192, 32_768, 131_072):
        for inner, outer in ((768, 768), (768, 2304), (768, 3072), (3072, 768)):
            left = torch.randn(rows, inner, device=bench.device).to(dtype)
            weight = torch.randn(outer, inner, device=bench.device).to(dtype)
            times = 2 if bench.small else 50

            def multiply(left: torch.Tensor = left, weight: torch.Tensor = weight, times: int = times) -> None:
                for _ in range(times):
                    torch.nn.functional.linear(left, weight)
                bench.finish()

            multiply()
            rates[f"{rows} x {inner} x {outer}"] = round(
                2 * rows * inner * outer * times / _seconds(multiply) / 1e12, 2
            )
    return {"TFLOP/s": rates, "best": max(rates.values())}


def budgets(bench: Bench) -> dict[str, Any]:
    """Tokens a second by padded tokens a batch; time the host takes to tokenize, and to start a batch."""
    model = bench.load()
    begun = time.perf_counter()
    tokens = model.tokenize(bench.texts)
    tokenizing = time.perf_counter() - begun
    total = sum(len(text.ids) for text in tokens)
    flop = sum(_flop(len(text.ids)) for text in tokens)
    best = bench.results.get("products")
    answer: dict[str, Any] = {"tokens": total, "tokenizing, million tokens/s": round(total / tokenizing / 1e6, 2)}
    for budget in (1024, 2048) if bench.small else (8192, 16_384, 32_768, 65_536, 131_072):
        run = _once(encode, model, tokens, budget, 8192)
        run()
        seconds = statistics.median(_seconds(run) for _ in range(1 if bench.small else 3))
        row: dict[str, Any] = {"million tokens/s": round(total / seconds / 1e6, 3)}
        if isinstance(best, dict) and not bench.small:
            row["share of the products' rate"] = round(flop / seconds / 1e12 / best["best"], 3)
        batch = tokens[: max(1, budget // MAX_TOKENS)]
        bench.finish()
        row["host, ms to start a batch"] = round(1e3 * _seconds(_once(model.start, batch)), 3)
        bench.finish()
        row["device and host, ms a batch"] = round(1e3 * _seconds(_once(model.encode, batch)), 3)
        answer[str(budget)] = row
    if bench.device.startswith("cuda"):
        answer["peak GB"] = round(torch.cuda.max_memory_allocated(bench.device) / 1e9, 2)
    return answer


def padding(bench: Bench) -> dict[str, Any]:
    """Million tokens a second with texts padded to tiles, in batches of one length each, and with none.

    Without padding, the tokens of a batch are the rows of one matrix and each length attends by itself; the lengths are
    asked of the device, which waits there for the host once a batch.
    """
    model = bench.load()
    tokens = model.tokenize(bench.texts[: 40 if bench.small else 8000])
    total = sum(len(text.ids) for text in tokens)
    budget = 1024 if bench.small else 32_768
    by_length: dict[int, list[TokenizedText]] = {}
    for text in tokens:
        by_length.setdefault(len(text.ids), []).append(text)
    padded = _once(encode, model, tokens, budget, 2048)

    def one_length_each() -> None:
        pending = []
        for length, texts in by_length.items():
            most = max(1, budget // length)
            pending += [model.start(texts[first : first + most]) for first in range(0, len(texts), most)]
        for one in pending:
            one.numpy()

    rates = {"padded": _rate(padded, total)}
    model.width_multiple = 1
    rates["batches of one length"] = _rate(one_length_each, total)
    layers: Any = model._layers
    layers._transformer._attend = attend_fused
    rates["rows without padding"] = _rate(padded, total)
    return rates


def _rate(work: Callable[[], object], tokens: int) -> float:
    """Million tokens a second of the better of two runs, after one to warm up."""
    work()
    return round(tokens / min(_seconds(work), _seconds(work)) / 1e6, 3)


def others(bench: Bench) -> dict[str, Any]:
    """Million tokens a second, of text: the usual loop, ``encode`` of the whole list, and ours with tokenizing."""
    from sentence_transformers import SentenceTransformer

    texts = bench.texts[: 64 if bench.small else 8000]
    dtype = getattr(torch, bench.precision)
    model = bench.load()
    total = sum(len(text.ids) for text in model.tokenize(texts))
    ways: dict[str, Callable[[], object]] = {
        "ours": lambda: encode(model, model.tokenize(texts), 32_768, 2048),
    }
    for name, kind in (("float32", torch.float32), (bench.precision, dtype)):
        peer = SentenceTransformer(str(bench.folder), device=bench.device, model_kwargs={"dtype": kind})
        ways[f"loop of 32, {name}"] = _once(_loop, peer, texts)
        for size in (32,) if bench.small else (32, 128, 256):
            ways[f"encode, whole list by {size}, {name}"] = _once(
                peer.encode, texts, batch_size=size, show_progress_bar=False
            )
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(1 if bench.small else 2):
        for name, way in ways.items():
            rates[name].append(total / _seconds(way) / 1e6)
    return {name: round(max(values), 3) for name, values in rates.items()}


def _loop(peer: Any, texts: list[str]) -> None:
    for start in range(0, len(texts), 32):
        peer.encode(texts[start : start + 32], show_progress_bar=False)


def compiled(bench: Bench) -> dict[str, Any]:
    """torch.compile of the transformer, with widths in buckets of 64; its time to compile counts apart."""
    model = bench.load()
    tokens = model.tokenize(bench.texts[: 40 if bench.small else 8000])
    total = sum(len(text.ids) for text in tokens)
    budget = 1024 if bench.small else 32_768
    plain = _once(encode, model, tokens, budget, 2048)
    plain()
    before = _seconds(plain)
    model.width_multiple = 64
    layers: Any = model._layers
    layers._transformer.forward = torch.compile(layers._transformer.forward, dynamic=True)
    compiling = _seconds(plain)
    after = _seconds(plain)
    return {
        "million tokens/s, as it is": round(total / before / 1e6, 3),
        "compiled": round(total / after / 1e6, 3),
        "seconds to compile": round(compiling, 1),
    }


def flex(bench: Bench) -> dict[str, Any]:
    """Attention alone: fused with the relative bias as a mask, and FlexAttention with it as a function of distance."""
    from torch.nn.attention.flex_attention import flex_attention

    texts, heads, width, size = (2, 4, 64, 16) if bench.small else (192, 12, 160, 64)
    dtype = getattr(torch, bench.precision)
    query, key, value = (torch.randn(texts, heads, width, size, device=bench.device, dtype=dtype) for _ in range(3))
    by_distance = torch.randn(heads, 2 * width, device=bench.device, dtype=dtype)
    rows = torch.arange(width, device=bench.device)
    bias = by_distance[:, rows[None, :] - rows[:, None] + width][None]

    def relative(score: Any, _batch: Any, head: Any, row: Any, column: Any) -> Any:
        return score + by_distance[head, column - row + width]

    attention: Any = torch.compile(flex_attention, dynamic=False)
    times = 1 if bench.small else 50

    def masked() -> Any:
        for _ in range(times):
            result = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        bench.finish()
        return result

    def flexible() -> Any:
        for _ in range(times):
            result = attention(query, key, value, score_mod=relative)
        bench.finish()
        return result

    with torch.inference_mode():
        difference = float((masked().float() - flexible().float()).abs().max())
        return {
            "shape": [texts, heads, width, size],
            "masked, ms": round(1e3 * _seconds(masked) / times, 3),
            "flex, ms": round(1e3 * _seconds(flexible) / times, 3),
            "largest difference": round(difference, 5),
        }


def two_processes(bench: Bench) -> dict[str, Any]:
    """Two processes on the device at once, and one alone: million tokens a second, all together."""
    answer = {}
    for count in (1, 2):
        command = [sys.executable, __file__, "--worker", str(bench.folder), "--device", bench.device]
        command += ["--small"] if bench.small else []
        workers = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ)
            for _ in range(count)
        ]
        try:
            for one in workers:
                assert one.stdout is not None
                one.stdout.readline()  # ready
            for one in workers:
                assert one.stdin is not None
                one.stdin.write("go\n")
                one.stdin.flush()
            rates = [float(one.stdout.readline()) for one in workers if one.stdout is not None]
        finally:
            for one in workers:
                one.kill()
                one.communicate()
        answer[f"{count} at once"] = round(sum(rates), 3)
    return answer


def worker(bench: Bench) -> None:
    """Load, wait for a line, encode, print million tokens a second."""
    model = bench.load()
    total = sum(len(text.ids) for text in model.tokenize(bench.texts))
    encode(model, model.tokenize(bench.texts[:100]), 32_768, 2048)
    print("ready", flush=True)
    sys.stdin.readline()
    seconds = _seconds(lambda: encode(model, model.tokenize(bench.texts), 32_768, 2048))
    print(total / seconds / 1e6, flush=True)
    sys.stdin.read()


def _flop(tokens: int) -> float:
    return 12 * 2 * (tokens * (4 * 768 * 768 + 2 * 768 * 3072) + 2 * tokens * tokens * 768)


def _once(work: Callable[..., object], *arguments: object, **options: object) -> Callable[[], object]:
    return lambda: work(*arguments, **options)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def print_table(result: dict[str, Any]) -> None:
    """All figures, a line each."""

    def lines(value: Any, path: str) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                lines(inner, f"{path}, {name}" if path else str(name))
        else:
            print(f"{path:70} {value}")

    lines(result, "")


if __name__ == "__main__":
    main()
