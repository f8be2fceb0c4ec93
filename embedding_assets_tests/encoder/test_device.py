"""Which device computes."""

import pytest
import torch

from embedding_assets.encoder.device import (
    default_batch_texts,
    default_batch_tokens,
    is_out_of_memory,
    resolve_device,
    width_multiple,
)
from embedding_assets.encoder.precision import Precision
from embedding_assets.errors import ConfigurationError


@pytest.fixture
def devices(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda, mps = request.param
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr("embedding_assets.encoder.device._uuids", lambda count: [f"gpu {n}" for n in range(count)])
    monkeypatch.setattr("embedding_assets.encoder.device.freest", lambda devices: len(devices) - 1)


@pytest.mark.usefixtures("devices")
@pytest.mark.parametrize(
    ("devices", "requested", "device"),
    [
        ((0, False), "auto", "cpu"),
        ((0, True), "auto", "mps"),
        ((1, True), "auto", "cuda:0"),
        ((2, True), "auto", "cuda:1"),
        ((2, True), "cpu", "cpu"),
        ((2, True), "mps", "mps"),
        ((2, False), "cuda", "cuda:0"),
        ((2, False), "cuda:1", "cuda:1"),
    ],
    indirect=["devices"],
)
def test_chosen_or_forced(requested: str, device: str):
    assert resolve_device(requested) == device


@pytest.mark.usefixtures("devices")
@pytest.mark.parametrize(
    ("devices", "requested"),
    [((0, False), "cuda"), ((0, False), "mps"), ((2, False), "cuda:2"), ((1, True), "cuda:1")],
    indirect=["devices"],
)
def test_forced_but_absent(requested: str):
    with pytest.raises(
        ConfigurationError, match=f"EMBEDDING_DEVICE: {requested} is not available here .* use auto or cpu"
    ):
        resolve_device(requested)


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), True),
        (MemoryError(), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate"), True),
        (RuntimeError("shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_is_out_of_memory(error: Exception, verdict: bool):
    assert is_out_of_memory(error) is verdict


def test_default_batch_tokens():
    assert default_batch_tokens("cpu", "float32") < default_batch_tokens("cpu", "bfloat16")
    assert default_batch_tokens("cpu", "bfloat16") < default_batch_tokens("cuda:0", "bfloat16")
    assert default_batch_tokens("mps", "float32") == default_batch_tokens("cuda:0", "bfloat16")


def test_default_batch_texts():
    assert default_batch_texts("cpu") == 32
    # Those of 16 tokens each fill what a GPU computes at once.
    assert default_batch_texts("cuda:0") * 16 == default_batch_tokens("cuda:0", "bfloat16")


@pytest.mark.parametrize(
    ("device", "precision", "multiple"),
    [("cpu", "float32", 1), ("cpu", "bfloat16", 16), ("cuda:0", "float32", 16), ("cuda:0", "bfloat16", 16)],
)
def test_width_multiple(device: str, precision: Precision, multiple: int):
    assert width_multiple(device, precision) == multiple


def test_batches_of_streams_are_no_larger_than_those_of_a_team():
    assert default_batch_tokens("cpu", "float32", 8) == default_batch_tokens("cpu", "float32")
    assert default_batch_tokens("cpu", "bfloat16", 8) < default_batch_tokens("cpu", "bfloat16")
