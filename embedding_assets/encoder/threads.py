"""How many threads this process should compute with on the CPU.

torch takes a thread for each core of its affinity mask. A container with two of 64 cores by quota then runs 64 threads
that take turns, and each product waits for the slowest.
"""

from __future__ import annotations

import functools
import logging
import math
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from embedding_assets.cgroups import OWN_PROCESS, cpu_quota, usable_cpus

logger = logging.getLogger(__name__)

_PROCESSORS: Final = Path("/sys/devices/system/cpu")

_setting = threading.Lock()

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Threads:
    """How many threads, and what says so.

    Attributes:
        count: at least 1.
        reason: a variable's name, or what this process is allowed.
    """

    count: int
    reason: str


def available_threads(
    configured: int | None = None, *, process: Path = OWN_PROCESS, processors: Path = _PROCESSORS
) -> Threads:
    """The threads that this process has cores for.

    ``EMBEDDING_THREADS`` decides, then ``OMP_NUM_THREADS``; else the cores of the affinity mask, or a cgroup's quota of
    CPU time where that is less. A core counts once whatever number of hardware threads it has: they share the units
    that multiply, and onnxruntime and scikit-learn count them so as well. What a variable asks for beyond the CPUs is
    not taken: each thread has weights and buffers of its own, so hundreds of them would fill the memory.

    Args:
        configured: ``EMBEDDING_THREADS``.
        process: where the kernel describes this process's cgroups.
        processors: where it describes the processors.
    """
    usable = usable_cpus()
    cores = _cores(usable, processors)
    quota = cpu_quota(process)
    allowed = Threads(cores, "cores")
    if quota is not None and math.ceil(quota) < cores:
        # Rounded up: a stream more than the quota has CPUs waits at times, one less leaves a part of it unused.
        allowed = Threads(max(1, math.ceil(quota)), "CPU quota of the cgroup")
    most = len(usable) if allowed.reason == "cores" else allowed.count
    if configured is not None:
        return _bounded(configured, most, "EMBEDDING_THREADS")
    if (of_openmp := _openmp_threads()) is not None:
        return _bounded(of_openmp, most, "OMP_NUM_THREADS")
    return allowed


def _bounded(wanted: int, most: int, variable: str) -> Threads:
    if wanted > most:
        _warn(wanted, most, variable)
    return Threads(min(wanted, most), variable)


@functools.cache
def _warn(wanted: int, most: int, variable: str) -> None:
    """Once, though a process counts its threads more than once."""
    logger.warning("%s=%d is more than this process has CPUs for: %d are taken", variable, wanted, most)


def use_available_threads(configured: int | None = None) -> Threads:
    """Let torch compute with no more threads than there are cores for; returns what it is to compute with.

    A process that has given torch fewer keeps them, unless ``EMBEDDING_THREADS`` says otherwise.
    """
    import torch

    threads = available_threads(configured)
    with _setting:
        found = in_new_thread(torch.get_num_threads)
        if configured is None and found < threads.count:
            threads = Threads(found, "torch.set_num_threads")
        if found != threads.count:
            torch.set_num_threads(threads.count)
    return threads


def let_threads_sleep() -> None:
    """Have the threads of a team sleep while they wait, instead of keeping other processes from the cores.

    OpenMP reads it when torch is imported, so this comes before; the user's own ``OMP_WAIT_POLICY`` stands.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def compute_with(count: int) -> None:
    """Let this thread alone compute with so many: OpenMP and MKL keep the number by thread.

    torch keeps it for threads to come as well; that is put back.
    """
    import torch

    with _setting:
        found = in_new_thread(torch.get_num_threads)
        # Until a thread has asked once, torch sets its number from that of all threads when it first computes.
        torch.get_num_threads()
        torch.set_num_threads(count)
        if found != count:
            in_new_thread(lambda: torch.set_num_threads(found))


def in_new_thread(work: Callable[[], _T]) -> _T:
    """What ``work`` returns in a thread that has set nothing yet."""
    results: list[_T] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    thread.join()
    return results[0]


def _cores(usable: list[int], processors: Path) -> int:
    """Cores among logical processors; each is one where the kernel does not say which share a core."""
    cores = set()
    for processor in usable:
        siblings = _content(processors / f"cpu{processor}" / "topology" / "thread_siblings_list")
        cores.add(siblings or str(processor))
    return max(1, len(cores))


def _openmp_threads() -> int | None:
    """Of ``OMP_NUM_THREADS``, which may be a list, one number for each depth of nesting."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) > 0 else None


def _content(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _renew_lock() -> None:
    global _setting  # noqa: PLW0603 (a thread of the parent may have held it, and is not here)
    _setting = threading.Lock()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_renew_lock)
