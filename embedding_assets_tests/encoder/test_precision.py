"""In which number format the layers compute."""

import logging
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from embedding_assets.encoder import precision
from embedding_assets.encoder.precision import check_int8_pays, resolve_precision
from embedding_assets.errors import ConfigurationError
from embedding_assets_tests.support.rounding import needs_int8

TILES = "flags\t\t: fpu avx512_bf16 amx_bf16 amx_tile amx_int8"
NO_TILES = "flags\t\t: fpu avx512_bf16"


def describe(level: int, flags: str) -> str:
    processor = f"processor\t: 0\ncpuid level\t: {level}\n{flags}\nbugs\t\t:\n"
    return f"{processor}\n{processor}"


@pytest.fixture
def cpu(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A described processor, on which bfloat16 multiplies as many times as fast as float32."""
    description, ratio = request.param
    (tmp_path / "cpuinfo").write_text(description)
    monkeypatch.setattr(precision, "_CPU_DESCRIPTION", tmp_path / "cpuinfo")
    seconds = {torch.float32: 1.0, torch.bfloat16: 1 / ratio}
    monkeypatch.setattr(precision, "_product_seconds", lambda dtype, *, packed: seconds[dtype] * (1 if packed else 2))
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True, raising=False)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    precision._bfloat16_is_faster.cache_clear()
    yield
    precision._bfloat16_is_faster.cache_clear()


@pytest.mark.usefixtures("cpu")
@pytest.mark.parametrize(
    ("cpu", "requested", "chosen"),
    [
        ((describe(32, TILES), 6.0), "auto", "bfloat16"),
        ((describe(32, TILES), 6.0), "float32", "float32"),
        ((describe(28, NO_TILES), 0.5), "auto", "float32"),
        ((describe(28, NO_TILES), 1.1), "auto", "float32"),
        ((describe(28, NO_TILES), 1.9), "auto", "bfloat16"),
        ((describe(28, NO_TILES), 0.5), "bfloat16", "bfloat16"),
        ((describe(28, TILES), 6.0), "auto", "float32"),
        ((describe(28, "flags\t\t: avx512f avx512_vnni"), 6.0), "auto", "float32"),
        ((describe(28, "flags\t\t: avx512f avx512_vnni"), 6.0), "bfloat16", "bfloat16"),
        (("Features: asimd bf16\n", 2.0), "auto", "bfloat16"),
        (("", 2.0), "auto", "bfloat16"),
    ],
    indirect=["cpu"],
)
def test_what_multiplies_faster_or_was_asked_for(requested: str, chosen: str):
    assert resolve_precision(requested, "cpu") == chosen


@pytest.mark.usefixtures("cpu")
@pytest.mark.parametrize("cpu", [(describe(28, TILES), 6.0)], indirect=True)
def test_tiles_without_a_description_would_crash(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ConfigurationError, match=r"EMBEDDING_PRECISION=bfloat16 would crash.*ONEDNN_MAX_CPU_ISA"):
        resolve_precision("bfloat16", "cpu")

    for no_limit in ("AVX512_CORE_AMX", "AVX512_BF16", "AVX512_CORE_BF16 "):
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", no_limit)
        with pytest.raises(ConfigurationError):
            resolve_precision("bfloat16", "cpu")

    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")
    assert resolve_precision("bfloat16", "cpu") == "bfloat16", "without tiles it is slow but works"


@pytest.mark.usefixtures("cpu")
@pytest.mark.parametrize("cpu", [(describe(28, NO_TILES), 1.0)], indirect=True)
def test_no_description_of_the_cpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(precision, "_CPU_DESCRIPTION", tmp_path / "absent")

    assert resolve_precision("bfloat16", "cpu") == "bfloat16"


@pytest.mark.parametrize(
    ("device", "supported", "requested", "chosen"),
    [
        ("cuda:0", True, "auto", "bfloat16"),
        ("cuda:0", False, "auto", "float32"),
        ("cuda:0", False, "bfloat16", "bfloat16"),
        ("cuda:0", True, "float32", "float32"),
        ("mps", False, "auto", "float32"),
        ("mps", False, "bfloat16", "bfloat16"),
    ],
)
def test_other_devices(device: str, supported: bool, requested: str, chosen: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: supported)
    monkeypatch.setattr(torch.cuda, "device", lambda name: nullcontext())

    assert resolve_precision(requested, device) == chosen


@pytest.fixture
def int8(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A CPU with seconds of a product in float32, bfloat16 (None: it has not) and int8, and whether int8 is exact."""
    *seconds, is_exact = request.param
    by_dtype = dict(zip((torch.float32, torch.bfloat16, torch.int8), seconds, strict=True))
    for timing in ("_time_product", "_product_seconds"):
        monkeypatch.setattr(precision, timing, lambda dtype, *, packed: by_dtype[dtype] * (1 if packed else 2))
    monkeypatch.setattr(precision, "computes_bfloat16", lambda: seconds[1] is not None)
    monkeypatch.setattr("embedding_assets.encoder.int8.products_are_exact", lambda: is_exact)
    monkeypatch.setattr(precision, "tiles_are_broken", lambda: False)
    precision._bfloat16_is_faster.cache_clear()
    yield
    precision._bfloat16_is_faster.cache_clear()


@pytest.mark.usefixtures("int8")
@pytest.mark.parametrize("int8", [(3.0, None, 1.0, True), (6.0, 1.2, 1.0, True)], indirect=True)
def test_int8_where_it_is_exact_and_faster():
    check_int8_pays()
    assert resolve_precision("int8", "cpu") == "int8"
    assert resolve_precision("auto", "cpu") != "int8"


@pytest.mark.usefixtures("int8")
@pytest.mark.parametrize(
    ("int8", "message"),
    [
        ((3.0, 1.1, 1.0, True), r"1\.10 times as fast as those in bfloat16, .*set EMBEDDING_PRECISION=auto"),
        ((1.0, None, 4.0, True), r"0\.25 times as fast as those in float32"),
    ],
    indirect=["int8"],
)
def test_int8_is_refused_where_it_is_not_faster(message: str):
    with pytest.raises(ConfigurationError, match=message):
        check_int8_pays()


@pytest.mark.usefixtures("int8")
@pytest.mark.parametrize("int8", [(3.0, None, 1.0, False)], indirect=True)
def test_int8_is_refused_where_it_is_not_exact():
    with pytest.raises(ConfigurationError, match=r"make wrong vectors.*VNNI or AMX.*set EMBEDDING_PRECISION=auto"):
        resolve_precision("int8", "cpu")


@pytest.mark.parametrize("device", ["cuda:0", "mps"])
def test_int8_is_for_cpus(device: str):
    with pytest.raises(ConfigurationError, match=f"the device is {device}; set EMBEDDING_PRECISION=auto"):
        resolve_precision("int8", device)


@pytest.mark.usefixtures("cpu")
@pytest.mark.parametrize("cpu", [(describe(28, TILES), 6.0)], indirect=True)
def test_int8_needs_tiles_that_are_described():
    with pytest.raises(ConfigurationError, match=r"EMBEDDING_PRECISION=int8 would crash.*ONEDNN_MAX_CPU_ISA"):
        resolve_precision("int8", "cpu")


@needs_int8
def test_int8_of_this_machine_is_measured():
    ratio, other = precision._int8_ratio()
    assert ratio > 0
    assert other in ("float32", "bfloat16")


@pytest.mark.parametrize(
    ("dtype", "packed_seconds", "has_onednn", "chosen"),
    [
        (torch.float32, 0.5, True, True),
        (torch.float32, 0.95, True, False),
        (torch.bfloat16, 0.95, True, True),
        (torch.float32, 0.5, False, False),
        (torch.bfloat16, 0.5, False, False),
    ],
)
def test_weights_are_laid_out_where_that_pays(
    dtype: torch.dtype, packed_seconds: float, has_onednn: bool, chosen: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(precision, "_product_seconds", lambda _, *, packed: packed_seconds if packed else 1.0)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: has_onednn)
    precision.packing_is_faster.cache_clear()
    assert precision.packing_is_faster(dtype) == chosen
    precision.packing_is_faster.cache_clear()


def test_this_machine_is_measured(caplog: pytest.LogCaptureFixture):
    precision._bfloat16_is_faster.cache_clear()
    with caplog.at_level(logging.DEBUG, precision.__name__):
        chosen = resolve_precision("auto", "cpu")

    assert chosen in ("float32", "bfloat16")
    if "bfloat16 multiplies" in caplog.text:
        ratio = float(caplog.text.split("multiplies ")[1].split()[0])
        assert (chosen == "bfloat16") == (ratio >= 1.3) or ratio == pytest.approx(1.3, abs=0.06)
