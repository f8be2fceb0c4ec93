"""In which number format the layers compute."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from embedding_assets.errors import ConfigurationError

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

Precision = Literal["float32", "bfloat16", "int8"]

Requested = Literal["auto", "float32", "bfloat16", "int8"]
"""What ``EMBEDDING_PRECISION`` may be; ``auto`` is never int8, whose vectors differ by more than rounding may."""

_WORTHWHILE: Final = 1.3
"""Factor by which bfloat16 must multiply faster before the vectors are rounded for it."""

_WORTH_PACKING: Final = 1.15
"""The same for weights in a layout of their own, which are copied for it."""

_WORTH_A_SPACE: Final = 1.15
"""The same for int8, whose vectors are a space of their own, over the faster of the other two."""

_TURNS: Final = 5

_CPU_DESCRIPTION: Final = Path("/proc/cpuinfo")
_WITHOUT_TILES: Final = {
    "SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI", "AVX512_CORE_BF16",
    "AVX512_CORE_FP16", "AVX10_1_512",
}  # fmt: skip
"""Limits under which oneDNN leaves AMX alone; values that it does not know it ignores."""

_TILE_LEAF: Final = 0x1D
"""The part of CPUID that describes the palettes of AMX tiles (Intel SDM volume 2, CPUID)."""


def resolve_precision(requested: Requested, device: str) -> Precision:
    """The precision for ``auto`` on a device, or the one asked for.

    On a GPU that computes in bfloat16 that is what ``auto`` means; on a CPU, what is measured to multiply faster there.
    Instructions alone do not decide: AMX makes bfloat16 several times as fast as float32, AVX-512 alone anything from
    slower to twice as fast.

    Raises:
        ConfigurationError: bfloat16 or int8 was asked for where it would crash the process, or int8 where it is not
            exact.
    """

    if requested == "float32":
        return "float32"
    if requested == "int8":
        _check_int8(device)
        return "int8"
    if device.startswith("cuda"):
        return "bfloat16" if requested == "bfloat16" or _is_native(device) else "float32"
    if device != "cpu":
        return "bfloat16" if requested == "bfloat16" else "float32"
    if tiles_are_broken():
        if requested == "bfloat16":
            raise ConfigurationError(_would_crash(requested))
        return "float32"
    return "bfloat16" if requested == "bfloat16" or _bfloat16_is_faster() else "float32"


def _would_crash(requested: Requested) -> str:
    return (
        f"EMBEDDING_PRECISION={requested} would crash: this (virtual) machine announces AMX without describing its "
        "tiles; set ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 as well, or use EMBEDDING_PRECISION=auto"
    )


def _check_int8(device: str) -> None:
    from embedding_assets.encoder.int8 import products_are_exact

    if device != "cpu":
        raise ConfigurationError(
            f"EMBEDDING_PRECISION=int8 is for CPUs, and the device is {device}; set EMBEDDING_PRECISION=auto, which is "
            "faster there, or EMBEDDING_DEVICE=cpu"
        )
    if tiles_are_broken():
        raise ConfigurationError(_would_crash("int8"))
    if not _has_onednn() or not products_are_exact():
        raise ConfigurationError(
            "EMBEDDING_PRECISION=int8 would make wrong vectors: this CPU, or torch on it, does not add up products of "
            "8-bit integers exactly, which takes VNNI or AMX (sums are cut off in 16 bits); set EMBEDDING_PRECISION="
            "auto, with EMBEDDING_NEW_SPACE=true if the table has a space of int8 alone"
        )


def check_int8_pays() -> None:
    """Refuse int8 on a CPU that computes as fast in another format; asked once for a model, since timings vary.

    Raises:
        ConfigurationError: it does.
    """
    ratio, other = _int8_ratio()
    if ratio < _WORTH_A_SPACE:
        raise ConfigurationError(
            f"EMBEDDING_PRECISION=int8 does not pay here: its products were measured to be {ratio:.2f} times as fast "
            f"as those in {other}, and {_WORTH_A_SPACE} is the least for which vectors are made less exact; set "
            "EMBEDDING_PRECISION=auto, with EMBEDDING_NEW_SPACE=true if the table has a space of int8 alone, or try "
            "again when nothing else runs"
        )


def _int8_ratio() -> tuple[float, Precision]:
    """How many times as fast as the faster of the others int8 multiplies, rounding included, and which that is.

    In turns, so that what else runs for a while slows none of them alone; some 300 ms.
    """
    import torch

    ways: list[tuple[Precision, torch.dtype, bool]] = [
        ("int8", torch.int8, True), ("float32", torch.float32, False), ("float32", torch.float32, True),
    ]  # fmt: skip
    if computes_bfloat16():
        ways.append(("bfloat16", torch.bfloat16, True))
    seconds: dict[Precision, float] = {}
    for _ in range(_TURNS):
        for name, dtype, packed in ways:
            seconds[name] = min(seconds.get(name, math.inf), _time_product(dtype, packed=packed))
    own = seconds.pop("int8")
    other = min(seconds, key=lambda name: seconds[name])
    ratio = seconds[other] / own
    logger.debug("int8 multiplies %.2f times as fast as %s", ratio, other)
    return ratio, other


def _is_native(device: str) -> bool:
    import torch

    with torch.cuda.device(device):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))


@cache
def _bfloat16_is_faster() -> bool:
    """Time both on a product as large as a layer's, each laid out as suits it best; some 50 ms."""
    import torch

    if not computes_bfloat16():
        return False
    plain, packed = (_product_seconds(torch.float32, packed=packed) for packed in (False, True))
    ratio = min(plain, packed) / _product_seconds(torch.bfloat16, packed=True)
    logger.debug("bfloat16 multiplies %.1f times as fast as float32", ratio)
    return ratio >= _WORTHWHILE


@cache
def packing_is_faster(dtype: torch.dtype) -> bool:
    """True if products on weights laid out for oneDNN are worth copying the weights for, on this CPU.

    In float32 that is so where the library that multiplies otherwise, MKL, does not use all that the CPU has: on AMD's
    with AVX-512 it takes half of the time. Elsewhere the weights stay where they are, in pages of their file that the
    kernel may drop. In bfloat16 they are copied in any case.
    """
    import torch

    if not _has_onednn():
        return False
    if dtype != torch.float32:
        return True
    ratio = _product_seconds(dtype, packed=False) / _product_seconds(dtype, packed=True)
    logger.debug("products on packed weights take 1/%.2f of the time", ratio)
    return ratio >= _WORTH_PACKING


def _has_onednn() -> bool:
    import torch

    return bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


@cache
def _product_seconds(dtype: torch.dtype, *, packed: bool) -> float:
    return _time_product(dtype, packed=packed)


def _time_product(dtype: torch.dtype, *, packed: bool) -> float:
    """The least of several tries: whatever else runs on the machine only ever adds. Of int8 with rounding its rows."""
    import torch

    numbers = torch.float32 if dtype == torch.int8 else dtype
    rows, multiply = torch.ones(512, 768, dtype=numbers), layer_product(dtype, packed=packed)
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        multiply(rows)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def layer_product(dtype: torch.dtype, *, packed: bool) -> Callable[[torch.Tensor], torch.Tensor]:
    """A product as large as a layer's, of rows of 768 features, on weights laid out for oneDNN or as they are.

    That of int8 takes rows in float32, and rounds them.
    """
    import torch

    if dtype == torch.int8:
        from embedding_assets.encoder.int8 import Int8Linear

        weight = torch.ones(3072, 768)
        linear: Callable[[torch.Tensor], torch.Tensor] = Int8Linear(weight, weight[:, 0].contiguous())
    else:
        weight = torch.ones(3072, 768, dtype=dtype)
        if packed:
            weight = torch.ops.mkldnn._reorder_linear_weight(weight)

        def linear(rows: torch.Tensor) -> torch.Tensor:
            if not packed:
                return torch.nn.functional.linear(rows, weight)
            product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, None, "none", [], "none")
            return product

    return torch.inference_mode()(linear)


def tiles_are_broken() -> bool:
    """True if oneDNN, which trusts the flag, would use AMX tiles that it cannot configure, and die by SIGILL.

    Some hypervisors pass the flag on but end CPUID before the leaf that describes the tiles.
    """
    if os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper() in _WITHOUT_TILES:
        return False
    level, flags = _described()
    return "amx_tile" in flags and level.isdigit() and int(level) < _TILE_LEAF


def computes_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 by itself, as far as it says; by AVX-512 alone it takes far longer."""
    import torch

    flags = _described()[1]
    is_emulated = "avx512f" in flags and not any(flag.endswith("_bf16") for flag in flags)
    return _has_onednn() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and not is_emulated


def _described() -> tuple[str, frozenset[str]]:
    """The last leaf of CPUID and the flags of the first processor; blank where the kernel does not describe it."""
    try:
        description = _CPU_DESCRIPTION.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "", frozenset()  # not Linux
    first_processor = [line.partition(":") for line in description.split("\n\n")[0].splitlines()]
    fields = {name.strip(): value for name, _, value in first_processor}
    return fields.get("cpuid level", "").strip(), frozenset(fields.get("flags", "").split())
