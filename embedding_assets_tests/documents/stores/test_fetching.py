"""Files of other machines are fetched a few at a time, and none is left behind."""

import asyncio

import pytest

from embedding_assets.documents.fetching import MOST_FILES, Fetcher
from embedding_assets.documents.file_state import FileState
from embedding_assets.documents.found_file import LocalFile
from embedding_assets.documents.stores.loop import run
from embedding_assets.documents.stores.store import StoreError


class Remote:
    """A file that comes at once, never, or not at all."""

    def __init__(self, name, *, size=1, is_silent=False, is_gone=False):
        self.origin = name
        self.size = size
        self._is_silent = is_silent
        self._is_gone = is_gone
        self.is_cancelled = False

    def state(self):
        return FileState("", mark="1")

    async def fetch(self, path):
        path.write_bytes(b"x" * min(self.size, 10))
        if self._is_gone:
            raise StoreError("it is not there any more")
        if self._is_silent:
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                self.is_cancelled = True
                raise
        return LocalFile(path, self.origin, "1")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where temporary folders are made."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_a_file_keeps_its_suffix_and_is_there_until_it_is_released(folder):
    with Fetcher() as fetcher:
        fetcher.begin(Remote("c/rows.v2.jsonl.gz"))
        file = fetcher.take(Remote("c/rows.v2.jsonl.gz"))
        assert (file.path.name, file.path.stat().st_mode & 0o777 & ~0o644) == ("1.jsonl.gz", 0)
        assert file.path.parent.stat().st_mode & 0o077 == 0
        fetcher.release(file.origin)
        assert not file.path.exists()
        assert not fetcher.holds_any
    assert list(folder.iterdir()) == []


def test_there_is_room_for_a_few_and_for_one_that_is_large(folder):
    files = [Remote(f"c/{number}.md") for number in range(MOST_FILES + 1)]
    with Fetcher() as fetcher:
        large = Remote("c/large.parquet", size=10**12)
        assert fetcher.has_room(large)
        for file in files[:-1]:
            assert fetcher.has_room(file)
            fetcher.begin(file)
            assert not fetcher.has_room(large)
        assert not fetcher.has_room(files[-1])
        fetcher.take(files[0])
        fetcher.release(files[0].origin)
        assert fetcher.has_room(files[-1])


def test_one_that_cannot_be_had_is_released(folder):
    with Fetcher() as fetcher:
        gone = Remote("c/gone.md", is_gone=True)
        fetcher.begin(gone)
        with pytest.raises(OSError, match="not there any more"):
            fetcher.take(gone)
        assert not fetcher.holds_any


def test_a_stop_ends_what_is_under_way_and_leaves_nothing(folder):
    silent = Remote("c/silent.md", is_silent=True)

    def fetch_until_stopped():
        with Fetcher() as fetcher:
            fetcher.begin(silent)
            fetcher.begin(Remote("c/a.md"))
            fetcher.take(Remote("c/a.md"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_until_stopped()
    assert list(folder.iterdir()) == []
    run(asyncio.sleep(0.05))
    assert silent.is_cancelled
