"""Attention over texts of different lengths, without computing what would be padding."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from functools import cache, partial
from itertools import groupby
from typing import Final, Protocol

import torch
from torch import Tensor
from torch.nn import functional

logger = logging.getLogger(__name__)

_TILE: Final = 16
"""Rows of a tile of AMX (Intel SDM volume 1, Advanced Matrix Extensions)."""

Texts = Sequence[tuple[int, int]]
"""Runs of texts of one length, in the order of their rows: how many, and of how many tokens each."""


class Attend(Protocol):
    """Texts whose tokens are the rows of one matrix attend each to itself."""

    def __call__(self, projected: Tensor, *, texts: Texts, bias: Tensor | None) -> Tensor:
        """Shape (tokens, heads, head size).

        Args:
            projected: query, key and value, shape (tokens, 3, heads, head size).
            texts: whose tokens these are.
            bias: added to the scores, shape (1, heads, n, n) for at least the longest text's n; a shorter one takes
                its beginning.
        """


def runs_of_equal_length(lengths: Sequence[int]) -> Texts:
    """Those of texts, by their lengths in tokens; a text without any has no rows."""
    return [(sum(1 for _ in run), length) for length, run in groupby(lengths) if length]


def attend_padded(projected: Tensor, *, mask: Tensor | None) -> Tensor:
    """Shape (texts, tokens, heads, head size), for ``projected`` of shape (texts, tokens, 3, heads, head size)."""
    query, key, value = (part.transpose(1, 2) for part in projected.unbind(2))
    return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2)


def attend_fused(projected: Tensor, *, texts: Texts, bias: Tensor | None, multiple: int = 1) -> Tensor:
    """By the framework's fused attention, which keeps no scores.

    Each text is padded to a multiple of so many tokens for it: where that divides their number, it takes another path.
    """
    attended = []
    for part, (count, tokens) in _parts(projected, texts):
        same_length = part.view(count, tokens, *part.shape[1:])
        if padding := -tokens % multiple:
            added = _added(bias, tokens, padding, like=projected)
            # Without a dimension for texts it would not be fused.
            mask = None if added is None else added.unsqueeze(0)
            padded = functional.pad(same_length, (0, 0, 0, 0, 0, 0, 0, padding))
            attended.append(attend_padded(padded, mask=mask)[:, :tokens].flatten(0, 1))
        else:
            mask = None if bias is None else bias[..., :tokens, :tokens]
            attended.append(attend_padded(same_length, mask=mask).flatten(0, 1))
    return torch.cat(attended)


def attend_by_products(projected: Tensor, *, texts: Texts, bias: Tensor | None, multiple: int = 1) -> Tensor:
    """By two matrix products a text; its scores are rounded to the precision of ``projected``.

    Each text is padded to a multiple of so many tokens for it: matrix units compute tiles.
    """
    attended = torch.empty_like(projected[:, 0])
    scale = projected.shape[-1] ** -0.5
    row = 0
    for count, tokens in texts:
        padding = -tokens % multiple
        added = _added(bias, tokens, padding, like=projected)
        for _ in range(count):
            part = projected[row : row + tokens].permute(1, 2, 0, 3)
            query, key, value = functional.pad(part, (0, 0, 0, padding)) if padding else part.contiguous()
            if added is None:
                scores = torch.bmm(query * scale, key.transpose(1, 2))
            else:
                scores = torch.baddbmm(added, query, key.transpose(1, 2), alpha=scale)
            attended[row : row + tokens] = torch.bmm(scores.softmax(dim=-1), value)[:, :tokens].transpose(0, 1)
            row += tokens
    return attended


def _added(bias: Tensor | None, tokens: int, padding: int, *, like: Tensor) -> Tensor | None:
    """What is added to the scores of a text: shape (heads, n, n), with its padding unseen; None: nothing."""
    if bias is None and not padding:
        return None
    scores = like.new_zeros(like.shape[2], tokens, tokens) if bias is None else bias[0, :, :tokens, :tokens]
    if not padding:
        return scores.contiguous()
    return functional.pad(functional.pad(scores, (0, 0, 0, padding)), (0, padding), value=float("-inf"))


def _parts(projected: Tensor, texts: Texts) -> zip[tuple[Tensor, tuple[int, int]]]:
    return zip(torch.split(projected, [count * tokens for count, tokens in texts]), texts, strict=True)


@cache
def fastest_attention(dtype: torch.dtype) -> Attend:
    """The one that takes less time on this CPU in a number format; a few milliseconds to find out.

    In float32 that is the fused one. In bfloat16 the fused one does not use what the CPU has for matrix products
    everywhere, and either may be faster over whole tiles.
    """
    if dtype == torch.float32:
        return attend_fused
    ways: dict[str, Attend] = {
        "the fused function": attend_fused,
        "the fused function over whole tiles": partial(attend_fused, multiple=_TILE),
        "products": attend_by_products,
        "products of whole tiles": partial(attend_by_products, multiple=_TILE),
    }
    seconds = {name: _seconds(attend, dtype) for name, attend in ways.items()}
    fastest = min(seconds, key=lambda name: seconds[name])
    logger.debug("attention in %s by %s", dtype, fastest)
    return ways[fastest]


def _seconds(attend: Attend, dtype: torch.dtype) -> float:
    """The least of several tries on a text of usual length: whatever else runs on the machine only ever adds."""
    # No multiple of anything, as most texts are.
    tokens = 157
    projected, bias = torch.zeros(tokens, 3, 12, 64, dtype=dtype), torch.zeros(1, 12, tokens, tokens, dtype=dtype)
    seconds = []
    with torch.inference_mode():
        for _ in range(4):
            started = time.perf_counter()
            attend(projected, texts=[(1, tokens)], bias=bias)
            seconds.append(time.perf_counter() - started)
    return min(seconds)
