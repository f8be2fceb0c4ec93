"""Threads that torch computes with."""

from __future__ import annotations


def set_torch_threads(count: int) -> None:
    """Have every thread of this process compute with ``count`` threads, itself included, whatever variables say."""
    import torch

    torch.set_num_threads(count)
