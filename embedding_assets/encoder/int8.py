"""Linear layers whose products are of 8-bit integers, for CPUs that add up such products exactly."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

_LEAST_GELU: Final = -0.17
"""No value of GELU is below."""

_PEAK: Final = 0.5
"""Share of one number in the squares of a row; in most layers some rows in a hundred of usual texts have more."""


class Int8Linear(nn.Module):
    """A linear layer on weights of 8 bits, each output with a scale of its own; what goes in is rounded to 8 bits too.

    Each row of the input has a scale of its own, so that a text's vector does not depend on what else is in its batch.
    Rows are rounded to unsigned integers around a zero point: for signed ones the library has no fast product. In a row
    that is nearly all one number, as those of a text of one full stop are, the others would be rounded away: what such
    rows lose is rounded and multiplied as well.

    Args:
        weight: shape (outputs, inputs), in float32.
        bias: shape (outputs,).
        gelu: apply GELU to what comes out.
        after_gelu: what goes in comes out of GELU, so that nearly all of the 256 numbers can be above zero.
    """

    def __init__(self, weight: Tensor, bias: Tensor, *, gelu: bool = False, after_gelu: bool = False) -> None:
        super().__init__()
        least = torch.finfo(torch.float32).tiny
        self._scales = (weight.abs().amax(dim=1) / 127).clamp_(min=least)
        rounded = (weight / self._scales[:, None]).round_().to(torch.int8)
        # Plain attributes: the layout is opaque, so the tensor cannot be moved or saved.
        self._weight = torch.ops.onednn.qlinear_prepack(rounded, None)
        self._bias = bias
        self._gelu = gelu
        self._after_gelu = after_gelu
        self._zero_point = 32 if after_gelu else 128
        self._levels = 255 - self._zero_point
        self._least_step = -_LEAST_GELU / self._zero_point if after_gelu else least
        # As long as a row: on two operands that are broadcast the fused operators take five times as long. Half a step
        # more, since the conversion to integers truncates.
        self._shift = torch.full((weight.shape[1],), self._zero_point + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (rows, outputs) in float32, of shape (rows, inputs)."""
        largest = x.amax(dim=-1, keepdim=True)
        if not self._after_gelu:
            # The norm that is this takes twenty times as long.
            largest = torch.maximum(largest, x.amin(dim=-1, keepdim=True).neg_())
            peaked = _peaked(x, largest)
        steps = largest.div_(self._levels).clamp_(min=self._least_step)
        rounded = torch.addcmul(self._shift, x, steps.reciprocal()).to(torch.uint8)
        product = _product(rounded, self._zero_point, self._weight, self._scales)
        if not self._after_gelu and len(peaked):
            lost = x[peaked] / steps[peaked] - (rounded[peaked].float() - self._zero_point)
            # In steps of a row it is at most a half.
            again = lost.mul_(2 * self._levels).add_(self._shift).to(torch.uint8)
            finer = _product(again, self._zero_point, self._weight, self._scales)
            product.index_add_(0, peaked, finer.div_(2 * self._levels))
        result: Tensor = torch.addcmul(self._bias, product, steps, out=product)
        return torch.ops.aten.gelu_(result) if self._gelu else result


def _peaked(x: Tensor, largest: Tensor) -> Tensor:
    """Which rows are nearly all one number."""
    found: Tensor = (largest.square().squeeze(-1) > _PEAK * torch.linalg.vecdot(x, x)).nonzero().squeeze(-1)
    return found


def products_are_exact() -> bool:
    """True if this CPU adds up products of 8-bit integers without cutting sums off.

    Without VNNI or AMX two products are added in 16 bits, which large numbers exceed. Computed on such numbers instead
    of read from the CPU's flags, since limits may be set on what of them is used.
    """
    inputs = outputs = 64
    rows = torch.full((16, inputs), 255, dtype=torch.uint8)
    weight = torch.full((outputs, inputs), 127, dtype=torch.int8)
    weight[::2] = -127
    try:
        found = _product(rows, 128, torch.ops.onednn.qlinear_prepack(weight, None), torch.ones(outputs))
    except (AttributeError, NotImplementedError, RuntimeError):
        return False  # built without them
    return torch.equal(found, (rows.float() - 128) @ weight.float().t())


def _product(rows: Tensor, zero_point: int, weight: Tensor, scales: Tensor) -> Tensor:
    """In float32, shape (rows, outputs), of unsigned rows and packed weights with a scale for each output."""
    zeros = torch.zeros(len(scales), dtype=torch.int64)
    product: Tensor = torch.ops.onednn.qlinear_pointwise(
        rows, 1.0, zero_point, weight, scales, zeros, None, 1.0, 0, torch.float32, "none", [], ""
    )
    return product
