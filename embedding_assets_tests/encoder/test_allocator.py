"""Memory kept for the next batch, and memory given back."""

import ctypes
import mmap
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from embedding_assets.encoder import allocator
from embedding_assets.encoder.allocator import Heap, MappedPages, keep_temporaries

MB = 2**20
needs_glibc = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="glibc only")
needs_smaps = pytest.mark.skipif(not Path("/proc/self/smaps").is_file(), reason="Linux only")


def test_without_a_c_library_nothing_is_done(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def windows(name: object) -> None:
        raise TypeError("LoadLibrary() argument 1 must be str, not None")

    monkeypatch.setattr(ctypes, "CDLL", windows)
    monkeypatch.setattr(allocator, "_STATUS", tmp_path / "nothing")
    monkeypatch.setattr(allocator, "_MAPPINGS", tmp_path / "nothing")
    assert allocator._glibc.__wrapped__() is None
    MappedPages(tmp_path, [0]).drop()


@needs_glibc
@pytest.mark.parametrize(("kept", "mapped_mb"), [(True, 0), (False, 16)])
def test_large_blocks_stay_on_the_heap(kept: bool, mapped_mb: int):
    # In a process of its own, which has freed no large block yet: glibc adapts itself after the first.
    code = f"""
import ctypes
from embedding_assets.encoder.allocator import keep_temporaries
class State(ctypes.Structure):
    names = ["arena", "ordblks", "smblks", "hblks", "hblkhd", "a", "b", "c", "d", "e"]
    _fields_ = [(name, ctypes.c_size_t) for name in names]
libc = ctypes.CDLL(None)
libc.mallinfo2.restype = State
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
if {kept}:
    keep_temporaries()
before = libc.mallinfo2().hblkhd
assert libc.malloc(16 * 2**20)
print((libc.mallinfo2().hblkhd - before) // 2**20)
"""
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert int(found.stdout) == mapped_mb


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(allocator, "_glibc", lambda: None)
    monkeypatch.setattr(allocator, "_MAPPINGS", tmp_path / "absent")

    keep_temporaries.__wrapped__()
    Heap(0).trim()
    MappedPages(tmp_path, [0]).drop()


def test_the_heap_is_trimmed_once_it_has_grown(monkeypatch: pytest.MonkeyPatch):
    trims = []
    resident = [500 * MB]
    libc = type("Libc", (), {"malloc_trim": staticmethod(lambda pad: trims.append(resident[0]))})
    monkeypatch.setattr(allocator, "_glibc", lambda: libc)
    monkeypatch.setattr(allocator, "_resident_bytes", lambda: resident[0])
    heap = Heap(64 * MB)

    for megabytes in (500, 550, 563, 565, 600, 628, 630):
        resident[0] = megabytes * MB
        heap.trim()

    assert [size // MB for size in trims] == [500, 565, 630]


@needs_smaps
def test_resident_bytes_grow_with_what_is_touched():
    # Not of the heap, which may hold pages that are free.
    with mmap.mmap(-1, 64 * MB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as block:
        before = allocator._resident_bytes()
        block.write(b"1" * 64 * MB)

        assert allocator._resident_bytes() - before > 48 * MB


def resident(file: Path) -> int:
    """Kilobytes of this process's mappings of a file that are in memory."""
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first, _, rest = line.partition(" ")
        if not first.endswith(":"):
            inside = rest.split(maxsplit=4)[-1] == str(file)
        elif inside and first == "Rss:":
            total += int(rest.split()[0])
    return total


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """As in a model cache: a link to a blob of another name, in a folder with a blank."""
    blob = tmp_path / "blobs and more" / "0123abc"
    blob.parent.mkdir()
    save_file({"large": torch.arange(4 * MB, dtype=torch.float32)}, blob)
    folder = tmp_path / "snapshot"
    folder.mkdir()
    (folder / "model.safetensors").symlink_to(blob)
    return folder


@needs_smaps
def test_mapped_pages_are_dropped_and_read_again(weights: Path):
    blob = (weights / "model.safetensors").resolve()
    tensor = load_file(weights / "model.safetensors")["large"]
    total = tensor.sum()
    assert resident(blob) > 15_000

    MappedPages(weights, [tensor.data_ptr()]).drop()

    assert resident(blob) == 0
    assert tensor.sum() == total


@needs_smaps
def test_a_mapping_that_was_written_to_is_left_alone(weights: Path):
    tensor = load_file(weights / "model.safetensors")["large"]
    tensor[5] = -1

    MappedPages(weights, [tensor.data_ptr()]).drop()

    assert tensor[5] == -1


@needs_smaps
def test_a_mapping_of_the_same_file_by_others_is_left_alone(weights: Path):
    blob = (weights / "model.safetensors").resolve()
    others, own = (load_file(weights / "model.safetensors")["large"] for _ in range(2))
    pages = MappedPages(weights, [own.data_ptr()])
    assert others.sum() == own.sum()
    both = resident(blob)

    others[5] = -1
    pages.drop()

    assert others[5] == -1
    assert resident(blob) <= both // 2 + 4
