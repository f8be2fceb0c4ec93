"""What a model that computes has to itself, by names that all processes agree on."""

from __future__ import annotations

import os
import platform
from typing import Final

from embedding_assets.encoder.device import resolve_device

_MIG: Final = "MIG-"
"""A part of a GPU, which CUDA_VISIBLE_DEVICES names whole."""


def occupied(requested: str) -> tuple[str, ...]:
    """What a local model on a device as in ``EMBEDDING_DEVICE`` would compute on, in the order to lock it.

    That is a GPU by its UUID, which containers on one machine see alike, or each core that this process may run on, so
    that processes on disjoint cores do not wait for each other.

    Raises:
        ConfigurationError: the device is not there.
    """
    device, machine = resolve_device(requested), platform.node()
    if device.startswith("cuda"):
        return (_graphics_card(int(device.partition(":")[2] or 0)),)
    if device != "cpu" or not hasattr(os, "sched_getaffinity"):
        return (f"{device} of {machine}",)
    return tuple(f"core {core} of {machine}" for core in sorted(os.sched_getaffinity(0)))


def _graphics_card(index: int) -> str:
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    if index < len(visible) and visible[index].strip().startswith(_MIG):
        return visible[index].strip()
    return f"GPU {torch.cuda.get_device_properties(index).uuid}"
