"""The matrix products of the model's layers alone: what no way to run them can pass.

The argument is JSON: ``flop``, how many operations the texts need; ``precision``; ``device``.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import torch

from peers.serve import Answer, serve

SECONDS_A_SHAPE = 0.12
WIDTHS = ((768, 768), (768, 2304), (768, 3072), (3072, 768))
TOKENS = {"cpu": (512, 1024, 2048, 4096, 8192), "cuda": (8192, 16_384, 32_768, 65_536)}


def prepare() -> tuple[Answer, Callable[[str], Answer]]:
    job = json.loads(sys.argv[1])
    dtype = getattr(torch, job["precision"])

    def work(_: str) -> Answer:
        rates = [
            _flop_per_second(tokens, width_in, width_out, dtype, job["device"])
            for tokens in TOKENS[job["device"]]
            for width_in, width_out in WIDTHS
        ]
        return {"seconds": job["flop"] / max(rates)}

    work("")  # a CPU that announces what it cannot do ends the process here, before the comparison
    name = torch.cuda.get_device_name() if job["device"] == "cuda" else ""
    return {"versions": {"torch": torch.__version__}, "device_name": name}, work


@torch.inference_mode()
def _flop_per_second(tokens: int, width_in: int, width_out: int, dtype: torch.dtype, device: str) -> float:
    inputs = torch.randn(tokens, width_in, device=device).to(dtype)
    weight = torch.randn(width_out, width_in, device=device).to(dtype)
    for _ in range(2):
        torch.nn.functional.linear(inputs, weight)
    _finish(device)
    count = 0
    started = time.perf_counter()
    while time.perf_counter() - started < SECONDS_A_SHAPE:
        for _ in range(1 if device == "cpu" else 20):
            torch.nn.functional.linear(inputs, weight)
            count += 1
        _finish(device)
    return 2 * tokens * width_in * width_out * count / (time.perf_counter() - started)


def _finish(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    serve(prepare)
