"""Which of several equal devices a process takes: the one that the fewest other processes of its kind have taken."""

from __future__ import annotations

import logging
import os
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

logger = logging.getLogger(__name__)

_MOST_PLACES: Final = 64
"""Processes on one device; further ones are not counted."""

_lock = threading.Lock()
_taken: dict[tuple[str, ...], tuple[int, FileLock]] = {}


def freest(devices: Sequence[str], *, folder: Path | None = None) -> int:
    """The number of the device to take; the same for this process from now on.

    Each process holds a place on its device, a locked file: first all first places are taken, then all second ones. A
    lock ends with its process, whatever ends it. Containers and users that share no temporary folder do not see each
    other's; there the one who starts the processes gives each its device, with ``CUDA_VISIBLE_DEVICES`` or
    ``EMBEDDING_DEVICE=cuda:N``.

    Args:
        devices: names that all processes agree on, as the UUIDs of GPUs.
        folder: for the locks; default: one of this user's.
    """
    if len(devices) == 1:
        return 0
    key = tuple(devices)
    with _lock:
        if key not in _taken:
            try:
                found = _take(devices, folder or _folder())
            except (OSError, NotImplementedError) as error:
                logger.warning("which devices are free cannot be seen (%s); the first is taken", error)
                return 0
            if found is None:
                return 0
            _taken[key] = found
        return _taken[key][0]


def _take(devices: Sequence[str], folder: Path) -> tuple[int, FileLock] | None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for place in range(_MOST_PLACES):
        for number, device in enumerate(devices):
            lock = FileLock(folder / f"{device}.{place}")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            return number, lock
    return None


def _folder() -> Path:
    user = os.getuid() if hasattr(os, "getuid") else "user"
    return Path(tempfile.gettempdir()) / f"embedding-assets-devices-{user}"


def _renew_lock() -> None:
    global _lock  # noqa: PLW0603 (a thread of the parent may have held it, and is not here)
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_renew_lock)
