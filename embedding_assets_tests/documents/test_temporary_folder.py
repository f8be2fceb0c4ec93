"""Folders that were left behind go; those in use, and those of others, stay."""

import subprocess
import sys

import pytest

from embedding_assets.documents.temporary_folder import TemporaryFolder

HOLDS = (
    "import sys, tempfile; tempfile.tempdir = sys.argv[1]; "
    "from embedding_assets.documents.temporary_folder import TemporaryFolder; "
    "folder = TemporaryFolder(); (folder.path / 'fetched').write_text('x'); print(folder.path, flush=True); "
    "sys.stdin.read()"
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where temporary folders are made."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_what_a_killed_process_left_is_removed_by_the_next_one(folder):
    other = subprocess.Popen([sys.executable, "-c", HOLDS, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with other:
        left = other.stdout.readline().decode().strip()
        first = TemporaryFolder()
        assert {str(one) for one in folder.iterdir()} == {left, str(first.path)}, "it is in use"
        other.kill()
    second = TemporaryFolder()
    assert {one.name for one in folder.iterdir()} == {first.path.name, second.path.name}
    first.remove()
    second.remove()
    assert list(folder.iterdir()) == []


def test_what_is_somebody_elses_stays(folder):
    (folder / "embedding-assets-other").mkdir()
    (folder / "embedding-assets-other/file").write_text("x")
    (folder / "docs").mkdir()
    (folder / "docs/in-use").write_text("")
    (folder / "embedding-assets-link").symlink_to(folder / "docs")
    (folder / "embedding-assets-file").write_text("x")
    TemporaryFolder().remove()
    assert len(list(folder.iterdir())) == 4
    assert (folder / "docs/in-use").exists()
