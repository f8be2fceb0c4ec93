"""Hashes that are kept are those of the files as they are."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from embedding_assets.encoder import digests
from embedding_assets.encoder.digests import sha256

CONTENT = os.urandom(1024) * 9 * 1024


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every file that is read whole, from here on."""
    seen: list[Path] = []
    original = digests._computed
    monkeypatch.setattr(digests, "_computed", lambda file: (seen.append(file), original(file))[1])
    return seen


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A large file whose last change lies far enough back."""
    monkeypatch.setattr(digests, "_SETTLED_SECONDS", -1.0)
    file = tmp_path / "large.safetensors"
    file.write_bytes(CONTENT)
    return file


def test_a_large_file_is_read_once(large: Path, computed: list[Path]):
    assert sha256(large) == sha256(large) == hashlib.sha256(CONTENT).digest()
    assert computed == [large]


def test_a_small_file_is_read_each_time(tmp_path: Path, computed: list[Path]):
    small = tmp_path / "config.json"
    small.write_text("{}")

    assert sha256(small) == sha256(small) == hashlib.sha256(b"{}").digest()
    assert len(computed) == 2


def test_a_change_of_the_same_size_at_the_same_time_is_seen(large: Path):
    before = sha256(large)
    times = large.stat().st_atime_ns, large.stat().st_mtime_ns
    with large.open("r+b") as stream:
        stream.write(b"other")
    os.utime(large, ns=times)

    assert sha256(large) == hashlib.sha256(b"other" + CONTENT[5:]).digest() != before


def test_another_file_in_its_place_is_seen(large: Path, tmp_path: Path):
    sha256(large)
    other = tmp_path / "other"
    other.write_bytes(CONTENT[::-1])
    other.replace(large)

    assert sha256(large) == hashlib.sha256(CONTENT[::-1]).digest()


def test_what_has_just_changed_is_not_kept(tmp_path: Path, computed: list[Path]):
    file = tmp_path / "large.safetensors"
    file.write_bytes(CONTENT)

    assert sha256(file) == sha256(file)
    assert len(computed) == 2


@pytest.mark.parametrize("damage", ["{", "[]", '{"sha256": "no"}', json.dumps({"state": [], "sha256": "00"})])
def test_a_damaged_record_is_made_again(damage: str, large: Path, computed: list[Path]):
    sha256(large)
    digests._record(large).write_text(damage)

    assert sha256(large) == sha256(large) == hashlib.sha256(CONTENT).digest()
    assert len(computed) == 2


def test_where_nothing_can_be_kept_it_is_computed(large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("huggingface_hub.utils._cache_assets.HF_ASSETS_CACHE", str(tmp_path / "file"))

    assert sha256(large) == hashlib.sha256(CONTENT).digest()
