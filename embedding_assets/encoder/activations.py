"""Activation functions by the names that transformers' configurations have for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor, nn


class _Gelu(nn.Module):
    """In place: the product it follows is a batch's largest temporary."""

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = torch.ops.aten.gelu_(x)
        return result


_USUAL: Final[dict[str, Callable[[], nn.Module]]] = {
    "gelu": _Gelu,
    "gelu_new": lambda: nn.GELU(approximate="tanh"),
    "gelu_pytorch_tanh": lambda: nn.GELU(approximate="tanh"),
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "swish": nn.SiLU,
    "tanh": nn.Tanh,
}


def activation_layer(name: str) -> nn.Module:
    """The function as a layer, which may overwrite what it is given.

    Only for an unusual one the library is imported, which takes seconds.
    """
    if name in _USUAL:
        return _USUAL[name]()
    from transformers.activations import ACT2FN

    module: nn.Module = ACT2FN[name]
    return module
