"""Attention text by text against attention over padded texts."""

from functools import partial

import pytest
import torch

from embedding_assets.encoder.attention import (
    Attend,
    attend_by_products,
    attend_fused,
    attend_padded,
    fastest_attention,
    runs_of_equal_length,
)

LENGTHS = [48, 48, 31, 7, 7, 7, 1, 0]
HEADS, SIZE = 4, 16
WAYS = [attend_fused, partial(attend_fused, multiple=16), attend_by_products, partial(attend_by_products, multiple=16)]


def padded(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Projections, which positions are tokens, and a bias."""
    chance = torch.Generator().manual_seed(5)
    width = LENGTHS[0]
    projected = torch.randn(len(LENGTHS), width, 3, HEADS, SIZE, generator=chance).to(dtype)
    here = torch.arange(width) < torch.tensor(LENGTHS)[:, None]
    return projected, here, torch.randn(1, HEADS, width, width, generator=chance).to(dtype)


def test_runs():
    assert runs_of_equal_length(LENGTHS) == [(2, 48), (1, 31), (3, 7), (1, 1)]
    assert runs_of_equal_length([]) == []


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("attend", WAYS)
def test_texts_see_only_themselves(attend: Attend, biased: bool):
    projected, here, bias = padded()
    mask = (bias if biased else torch.zeros_like(bias)).masked_fill(~here[:, None, None, :], float("-inf"))
    expected = attend_padded(projected, mask=mask)[here]

    attended = attend(projected[here], texts=runs_of_equal_length(LENGTHS), bias=bias if biased else None)

    torch.testing.assert_close(attended, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("attend", WAYS)
def test_bfloat16_differs_by_rounding(attend: Attend):
    projected, here, bias = padded(torch.bfloat16)
    texts = runs_of_equal_length(LENGTHS)
    expected = attend_fused(projected.float()[here], texts=texts, bias=bias.float())

    attended = attend(projected[here], texts=texts, bias=bias)

    assert attended.dtype == torch.bfloat16
    assert torch.nn.functional.cosine_similarity(attended.float(), expected, dim=-1).min() > 0.999


def test_this_machine_is_measured():
    assert fastest_attention(torch.float32) is attend_fused
    fastest = fastest_attention(torch.bfloat16)
    assert getattr(fastest, "func", fastest) in (attend_fused, attend_by_products)
