"""What a model occupies."""

import os
import platform
from types import SimpleNamespace

import pytest
import torch

from embedding_assets.encoder import occupied as module
from embedding_assets.encoder.occupied import occupied

CORES = [f"core {core} of {platform.node()}" for core in sorted(os.sched_getaffinity(0))]


def test_on_a_cpu_the_cores_it_may_run_on():
    assert list(occupied("cpu")) == CORES


@pytest.mark.skipif(len(CORES) < 2, reason="one core cannot be shared out")
def test_processes_on_disjoint_cores_have_nothing_in_common(monkeypatch: pytest.MonkeyPatch):
    first, second, *_ = sorted(os.sched_getaffinity(0))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {first})
    one = set(occupied("cpu"))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {second})
    assert not one & set(occupied("cpu"))


@pytest.fixture
def graphics_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two, as torch shows them."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid=f"uuid-{index}"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.usefixtures("graphics_cards")
def test_a_gpu_is_known_by_its_uuid():
    assert occupied("cuda") == ("GPU uuid-0",)
    assert occupied("cuda:1") == ("GPU uuid-1",)
    assert occupied("cpu") == tuple(CORES)


@pytest.mark.usefixtures("graphics_cards")
def test_a_part_of_a_gpu_is_known_by_its_own(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-aa, MIG-bb")
    assert occupied("cuda:1") == ("MIG-bb",)


def test_where_cores_cannot_be_asked_for_it_is_the_machine(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(module.platform, "node", lambda: "here")
    assert occupied("cpu") == ("cpu of here",)
