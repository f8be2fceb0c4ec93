"""Products of 8-bit integers against those of float32."""

import os
import platform
import subprocess
import sys

import pytest
import torch

from embedding_assets.encoder.int8 import Int8Linear
from embedding_assets_tests.support.rounding import needs_int8


@pytest.fixture
def linear() -> torch.nn.Linear:
    torch.manual_seed(5)
    return torch.nn.Linear(96, 64).requires_grad_(requires_grad=False)


def rows(count: int = 40) -> torch.Tensor:
    """Of very different lengths."""
    chance = torch.Generator().manual_seed(2)
    return torch.randn(count, 96, generator=chance) * torch.logspace(-3, 3, count)[:, None]


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest distance of a row, as a share of its length."""
    return float(((found - expected).norm(dim=1) / expected.norm(dim=1)).max())


@needs_int8
def test_each_row_is_rounded_by_its_own_scale(linear: torch.nn.Linear):
    linear.bias.zero_()
    assert error(Int8Linear(linear.weight, linear.bias)(rows()), linear(rows())) < 0.02


@needs_int8
def test_beside_one_large_number_the_others_count(linear: torch.nn.Linear):
    linear.bias.zero_()
    inputs = torch.randn(40, 96, generator=torch.Generator().manual_seed(2))
    inputs[::2, 7] = 400
    linear.weight[:, 7] = 0
    found = Int8Linear(linear.weight, linear.bias)(inputs)
    # Each is in steps of 400 / 127, so that what is left of the others alone would be noise.
    assert error(found, linear(inputs)) < 0.03


@needs_int8
@pytest.mark.parametrize("after_gelu", [False, True])
def test_a_row_does_not_depend_on_the_others(linear: torch.nn.Linear, after_gelu: bool):
    rounded = Int8Linear(linear.weight, linear.bias, gelu=True, after_gelu=after_gelu)
    inputs = torch.nn.functional.gelu(rows()) if after_gelu else rows()
    inputs[::3, 7] *= 100
    together = rounded(inputs)
    assert all(torch.equal(rounded(inputs[row : row + 1])[0], together[row]) for row in range(len(inputs)))


@needs_int8
def test_what_comes_out_of_gelu_is_rounded_more_finely(linear: torch.nn.Linear):
    activated = torch.nn.functional.gelu(rows()[20:])
    expected = linear(activated)
    coarse, fine = (
        error(Int8Linear(linear.weight, linear.bias, after_gelu=after_gelu)(activated), expected)
        for after_gelu in (False, True)
    )
    assert fine < coarse < 0.03


@needs_int8
def test_gelu_is_applied(linear: torch.nn.Linear):
    plain, activated = (Int8Linear(linear.weight, linear.bias, gelu=gelu)(rows()) for gelu in (False, True))
    torch.testing.assert_close(activated, torch.nn.functional.gelu(plain))


@needs_int8
def test_zeros_and_what_is_no_number(linear: torch.nn.Linear):
    weight = linear.weight.clone()
    weight[3] = 0
    inputs = rows(3)
    inputs[0] = 0
    inputs[1, 5] = float("nan")
    found = Int8Linear(weight, linear.bias)(inputs)
    assert torch.equal(found[0], linear.bias)
    assert found[1].isnan().all()
    assert found[2, 3] == linear.bias[3]


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the limits are those of x86")
@pytest.mark.parametrize("limit", ["AVX2", "AVX512_CORE"])
def test_sums_that_are_cut_off_are_noticed(limit: str):
    """Neither has VNNI; a CPU that has it is made to do without."""
    code = "from embedding_assets.encoder.int8 import products_are_exact; print(products_are_exact())"
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": limit}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "False"
