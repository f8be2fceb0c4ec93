"""Memory of inference: temporaries kept for reuse, what is no longer needed given back to the system."""

from __future__ import annotations

import ctypes
import mmap
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Final

_LARGEST_THRESHOLD: Final = 32 * 2**20
"""glibc accepts no larger one (DEFAULT_MMAP_THRESHOLD_MAX)."""

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3

_STATUS: Final = Path("/proc/self/statm")
_MAPPINGS: Final = Path("/proc/self/smaps")


@cache
def keep_temporaries() -> None:
    """Keep large temporaries on the heap, so that each batch does not fault its pages in again; once is enough.

    Until a program has freed a large block, glibc returns every such block to the kernel at once. Elsewhere this does
    nothing.
    """
    libc = _glibc()
    if libc is not None:
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_THRESHOLD)
        libc.mallopt(_M_TRIM_THRESHOLD, 4 * _LARGEST_THRESHOLD)


class Heap:
    """The process's heap, kept from growing by the holes that batches of ever new shapes leave in it.

    Args:
        growth_bytes: how much the process may grow before the heap is trimmed again.
    """

    def __init__(self, growth_bytes: int) -> None:
        self._growth_bytes = growth_bytes
        self._trimmed_bytes = 0

    def trim(self) -> None:
        """Return free pages to the kernel once the process has grown since the last time; elsewhere do nothing.

        Not after every batch: the next one would fault the same pages in again, which takes a third of the speed.
        """
        libc = _glibc()
        if libc is not None and _resident_bytes() > self._trimmed_bytes + self._growth_bytes:
            libc.malloc_trim(0)
            self._trimmed_bytes = _resident_bytes()


def _resident_bytes() -> int:
    return int(_STATUS.read_text(encoding="ascii").split()[1]) * mmap.PAGESIZE


class MappedPages:
    """Pages of safetensors files that tensors of this process are mapped from; elsewhere than on Linux none.

    Args:
        folder: with the files.
        addresses: of the tensors. Mappings of the same files that hold none of them are others', and are left alone, as
            are those that were written to.
    """

    def __init__(self, folder: Path, addresses: Iterable[int]) -> None:
        self._mappings: list[tuple[int, int]] = []
        if not _MAPPINGS.is_file() or not hasattr(mmap, "MADV_DONTNEED"):
            return
        # Files in a model cache are links to blobs of other names.
        files = {str(file.resolve()) for file in folder.glob("*.safetensors")}
        own = sorted(addresses)
        for start, end in _unwritten_mappings(files):
            if bisect_left(own, start) < bisect_left(own, end):
                self._mappings.append((start, end))

    def drop(self) -> None:
        """Let go of the pages, which are read again, from the page cache, when they are touched."""
        for start, end in self._mappings:
            ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), mmap.MADV_DONTNEED)


def _unwritten_mappings(files: set[str]) -> Iterator[tuple[int, int]]:
    """Addresses of this process's mappings of ``files`` (format: man 5 proc, /proc/pid/smaps)."""
    addresses = None
    for line in _MAPPINGS.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        first, _, rest = line.partition(" ")
        if not first.endswith(":"):
            start, _, end = first.partition("-")
            # Permissions, offset, device, inode, path; anonymous mappings have no path.
            is_wanted = rest.split(maxsplit=4)[-1] in files
            addresses = (int(start, 16), int(end, 16)) if is_wanted else None
        elif first in ("Anonymous:", "Swap:") and rest.split()[0] != "0":
            # Pages of it are private copies, in memory or swapped out, and would be lost.
            addresses = None
        elif first == "VmFlags:" and addresses:
            # The last line of an entry.
            yield addresses


@cache
def _glibc() -> ctypes.CDLL | None:
    if not _STATUS.is_file():
        return None  # not Linux; on Windows there is no library without a name
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "malloc_trim") else None
