"""What came of comparing a model with its library, kept for later starts."""

from __future__ import annotations

import hashlib
import json
import logging
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Literal

from filelock import FileLock

from embedding_assets.encoder.files import ModelFiles
from embedding_assets.encoder.precision import Precision

logger = logging.getLogger(__name__)

_PACKAGES: Final = ("torch", "transformers", "tokenizers", "sentence-transformers")


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of it.

    Attributes:
        code: which code computes, see ``Way``.
        precision: in which its transformer computes.
        documents: least agreement of a document's vector with the library's; 1 is equal.
        queries: the same for queries.
        refused: agreement of each faster way that is not taken; None where it raised an error.
        seconds: how long it took.
    """

    code: Literal["fused", "layers", "package"]
    precision: Precision
    documents: float
    queries: float
    refused: dict[str, float | None]
    seconds: float


@dataclass(frozen=True, slots=True)
class Record:
    """Where a comparison is kept: beside the hub's cache, so that an image or a volume with models has it as well.

    Attributes:
        model: its name.
        key: what the comparison depends on.
    """

    model: str
    key: dict[str, Any]

    @classmethod
    def of(cls, files: ModelFiles, device: str, max_tokens: int, precision: Precision) -> Record:
        """For this revision, these versions, this code and this processor.

        A folder's model may be moved, copied and renamed: its revision says all of what it holds.
        """
        return cls(
            files.name,
            {
                "model": None if files.is_known_by_content else files.name,
                "revision": files.revision,
                "max_tokens": max_tokens,
                "precision": precision,
                "processor": _processor(device),
                "versions": {name: version(name) for name in _PACKAGES},
                "code": _code(),
            },
        )

    def read(self) -> Comparison | None:
        """None if it was not made yet, or not under these conditions."""
        try:
            kept = json.loads(self._file().read_text(encoding="utf-8"))
            return Comparison(**kept["comparison"]) if kept["key"] == self.key else None
        except (OSError, ValueError, KeyError, TypeError):
            return None  # not there, or damaged: then it is compared again

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from comparing the same; where the folder cannot be written to, they may."""
        with ExitStack() as stack:
            try:
                stack.enter_context(FileLock(self._file().with_suffix(".lock")))
            except (OSError, ValueError, NotImplementedError) as error:
                logger.debug("no lock beside the comparison of %s (%s)", self.model, type(error).__name__)
            yield

    def write(self, comparison: Comparison) -> None:
        """Keep it; where that cannot be, it is said."""
        try:
            file = self._file()
            partial = file.with_suffix(f".{uuid.uuid4().hex}")
            partial.write_text(json.dumps({"key": self.key, "comparison": asdict(comparison)}, indent=2), "utf-8")
            partial.replace(file)
        except (OSError, ValueError) as error:
            logger.warning(
                "the comparison of %s with its library cannot be kept (%s) and will be made at each start; set "
                "HF_ASSETS_CACHE to a folder for it",
                self.model,
                error,
            )

    def _file(self) -> Path:
        from huggingface_hub import cached_assets_path

        folder = cached_assets_path("embedding_assets", namespace="comparisons")
        return folder / f"{hashlib.sha256(json.dumps(self.key).encode()).hexdigest()[:32]}.json"


def _processor(device: str) -> str:
    import torch

    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return torch.backends.cpu.get_cpu_capability() if device == "cpu" else device


@cache
def _code() -> str:
    """Changes whenever what computes changes."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
