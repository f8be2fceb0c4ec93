"""Hashes of files; those of large files that have not changed since are kept."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
import uuid
from pathlib import Path
from typing import Any, Final

logger = logging.getLogger(__name__)

_LARGE_BYTES: Final = 8 * 2**20
"""Smaller files are hashed faster than a record of them is read and checked."""

_SETTLED_SECONDS: Final = 60.0
"""Age of a file's last change from which on another one cannot have the same time: clocks are coarse, or another's."""


def sha256(file: Path) -> bytes:
    """SHA-256 of a file's content.

    Of a large one it is kept beside the hub's cache, for as long as the file is the same one, of the same size, and was
    not changed: its time of change cannot be set back, unlike that of modification.
    """
    before = file.stat()
    if before.st_size < _LARGE_BYTES:
        return _computed(file)
    state = _state(before)
    kept = _read(file)
    if kept is not None and kept.get("state") == state:
        return bytes.fromhex(kept["sha256"])
    digest = _computed(file)
    if _state(file.stat()) == state and time.time() - before.st_ctime > _SETTLED_SECONDS:
        _write(file, {"state": state, "sha256": digest.hex()})
    return digest


def _computed(file: Path) -> bytes:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


def _state(found: os.stat_result) -> list[int]:
    return [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def _read(file: Path) -> dict[str, Any] | None:
    try:
        kept = json.loads(_record(file).read_text(encoding="utf-8"))
        bytes.fromhex(kept["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # not there, or damaged: then it is computed again
    return dict(kept)


def _write(file: Path, kept: dict[str, Any]) -> None:
    try:
        record = _record(file)
        partial = record.with_suffix(f".{uuid.uuid4().hex}")
        partial.write_text(json.dumps(kept), encoding="utf-8")
        partial.replace(record)
    except (OSError, ValueError) as error:
        logger.debug("the hash of a model's file cannot be kept (%s)", type(error).__name__)


def _record(file: Path) -> Path:
    from huggingface_hub import cached_assets_path

    folder = cached_assets_path("embedding_assets", namespace="digests")
    return folder / f"{hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:32]}.json"
