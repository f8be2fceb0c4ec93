"""Encoding on a machine that is shared: a full-size MPNet beside processes that keep a core busy each.

Ours, the usual loop and OpenVINO's backend at its best batch size, each a process of its own, take turns alone and
beside one and two busy processes. Where AVX2 is imitated, plain ``encode`` at its best batch size stands in for
OpenVINO, which computes with AVX-512 whatever the variables say. Run: make bench-shared
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from encode import PAUSE_SECONDS, WAYS, Inputs, Way, note, prepare, start
from environments import PeerUnavailableError
from report import Aim, Result, Row, cpu_flags, cpu_kind, interleave, number, publish
from workers import Worker

OURS, OPENVINO, ENCODE = "ours", "openvino", "list-tuned"
BUSY = (0, 1, 2)
WORDS = {0: "alone", 1: "beside one busy process", 2: "beside two"}

# Other names for one limit: of torch's own kernels, of MKL and of oneDNN.
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument(
        "--chunks", type=int, default=40, help="texts; the loop beside two busy processes takes longest"
    )
    parser.add_argument(
        "--cpu", choices=("native", "avx2"), default="native", help="avx2: imitate a CPU without AVX-512"
    )
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="ea-bench-"))
    try:
        publish(compare(prepare(folder, arguments.chunks), arguments.rounds, imitated=arguments.cpu == "avx2"))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def compare(inputs: Inputs, rounds: int, *, imitated: bool) -> Result:
    """Start every way, let them take turns beside each number of busy processes."""
    fast = not imitated and cpu_flags() & {"amx_bf16", "avx512_bf16"}
    environment = AVX2 if imitated else {}
    compared = ("loop", ENCODE if imitated else OPENVINO, OURS)
    ways = {way.key: way for way in WAYS if way.key in compared}
    refused: dict[str, str] = {}
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for key, way in ways.items():
            note(f"starting: {way.label}")
            try:
                workers[key] = stack.enter_context(start(_precise(way, fast=bool(fast)), inputs, environment, "cpu"))
            except PeerUnavailableError as error:
                refused[key] = str(error)
                note(f"  {error}")

        def timed(key: str, busy: int) -> Callable[[], float]:
            def run() -> float:
                with busy_processes(busy):
                    time.sleep(PAUSE_SECONDS)
                    seconds: float = workers[key].run()["seconds"]
                return inputs.chunks / seconds

            return run

        measured = interleave(
            {f"{key} {WORDS[busy]}": timed(key, busy) for busy in BUSY for key in workers}, max(1, rounds)
        )
        versions = {
            f"versions ({ways[key].module})": ", ".join(f"{name} {at}" for name, at in worker.facts["versions"].items())
            for key, worker in workers.items()
        }
    rows = {
        (key, busy): Row(f"{way.label}, {WORDS[busy]}", measured.get(f"{key} {WORDS[busy]}", []), ours=key == OURS)
        for busy in BUSY
        for key, way in ways.items()
    }
    kinds = {"amd": ("", ""), "amx": ("_amx", ", AMX"), "intel": ("_intel", ", Intel without AMX")}
    suffix, words = ("_avx2", ", AVX2 imitated") if imitated else kinds[cpu_kind()]
    return Result(
        name=f"shared{suffix}",
        title=f"Encoding beside busy processes: full-size MPNet on {os.cpu_count()} cores{words}",
        unit="chunks/s",
        rows=[_remarked(rows, key, busy, refused) for key, busy in rows],
        aims=aims(rows),
        facts={
            "chunks": inputs.chunks,
            "mean tokens": round(inputs.tokens / inputs.chunks),
            "rounds": rounds,
            **({"imitated by": " ".join(f"{name}={value}" for name, value in AVX2.items())} if imitated else {}),
            **versions,
        },
    )


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """So many processes that want a core each."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def aims(rows: dict[tuple[str, int], Row]) -> list[Aim]:
    """What the streams are for; NaN where a way is missing."""
    alone, others = ([_median(rows, key, busy) for key, at in rows if key != OURS and at == busy] for busy in (0, 1))
    return [
        Aim("alone, times the fastest other way", _median(rows, OURS, 0) / max(alone), 1.2),
        Aim("share of its speed beside one busy process", _median(rows, OURS, 1) / _median(rows, OURS, 0), 0.6),
        Aim("beside it, times the fastest other way", _median(rows, OURS, 1) / max(others), 2),
    ]


def _precise(way: Way, *, fast: bool) -> Way:
    precision = "bfloat16" if fast else "float32"
    return way if way.precision != "best" else Way(**{**vars(way), "precision": precision})


def _remarked(rows: dict[tuple[str, int], Row], key: str, busy: int, refused: dict[str, str]) -> Row:
    row = rows[key, busy]
    words = [refused[key]] if key in refused else []
    if busy and row.median is not None:
        words.append(f"{number(100 * row.median / _median(rows, key, 0))} % of alone")
    if key != OURS and row.median is not None:
        words.append(f"ours is {number(_median(rows, OURS, busy) / row.median)} x")
    return Row(row.label, row.rounds, row.peak_memory_mb, ", ".join(words), row.ours)


def _median(rows: dict[tuple[str, int], Row], key: str, busy: int) -> float:
    value = rows[key, busy].median
    return float("nan") if value is None else value


if __name__ == "__main__":
    main()
