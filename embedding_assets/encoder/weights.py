"""A transformer's weights by name, mapped from its safetensors files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import torch
from safetensors import safe_open
from torch import Tensor

from embedding_assets.encoder.files import read_json

_NUMBERS: Final = {"F32", "F16", "BF16"}


class MappedWeights:
    """Weights of one file, or of those that an index names; only what is touched is read.

    Args:
        folder: with ``model.safetensors``, or ``model.safetensors.index.json``.

    Raises:
        ValueError: there is neither, or the index does not say what the files hold.
        OSError: a file cannot be opened.
        SafetensorError: a file is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._homes: dict[str, Any] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._formats: dict[str, str] = {}
        files = _files(folder)
        for file in dict.fromkeys(files.values()) if files else [folder / "model.safetensors"]:
            # The file stays mapped for as long as one of its tensors is in use.
            opened: Any = safe_open(file, framework="pt")
            for name in opened.keys():  # noqa: SIM118 (not a mapping)
                described = opened.get_slice(name)
                self._homes[name] = opened
                self._shapes[name] = tuple(described.get_shape())
                self._formats[name] = described.get_dtype()
        if files and set(files) != set(self._homes):
            raise ValueError("the index names other weights than its files hold")

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of all weights, by name."""
        return self._shapes

    def is_number(self, name: str) -> bool:
        """True if a weight is in a floating-point format that float32 holds without loss."""
        return self._formats[name] in _NUMBERS

    def read(self, name: str) -> Tensor:
        """A weight in float32: as it lies in its file if that is its format, else converted."""
        tensor: Tensor = self._homes[name].get_tensor(name)
        return tensor.to(torch.float32)


def _files(folder: Path) -> dict[str, Path]:
    """File of each weight by an index; empty if all are in one file."""
    if (folder / "model.safetensors").is_file():
        return {}
    index = read_json(folder / "model.safetensors.index.json").get("weight_map", {})
    names = set(index.values())
    if not names or any(Path(name).name != name for name in names):
        raise ValueError("no file of weights, and no index of several")
    return {weight: folder / name for weight, name in index.items()}
