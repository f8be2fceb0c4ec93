"""Whether files have changed, without reading them."""

import os

import pytest

from embedding_assets.documents.ignoring import Choice
from embedding_assets.documents.noticing import look_at


@pytest.fixture
def docs(tmp_path):
    folder = tmp_path / "docs"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.md", "sub/b.md"):
        (folder / name).write_text("one")
        os.utime(folder / name, (1, 1))
    return folder


def digest(*paths, choice=Choice()):  # noqa: B008
    found = look_at([str(path) for path in paths], choice, seconds=60)
    assert found is not None
    return found.digest


def renamed(docs):
    (docs / "a.md").rename(docs / "c.md")


def longer(docs):
    (docs / "a.md").write_text("longer")
    os.utime(docs / "a.md", (1, 1))


def later(docs):
    os.utime(docs / "a.md", (2, 2))


def new(docs):
    (docs / "sub/new.md").write_text("")


def gone(docs):
    (docs / "sub/b.md").unlink()


@pytest.mark.parametrize("change", [renamed, longer, later, new, gone])
def test_a_change_makes_it_look_another_way(docs, change):
    before = digest(docs)
    assert digest(docs) == before
    change(docs)
    assert digest(docs) != before


def test_what_is_not_loaded_does_not_count(docs):
    before = digest(docs)
    (docs / "picture.bin").write_bytes(b"\0")
    (docs / ".git").mkdir()
    (docs / ".git/a.md").write_text("x")
    assert digest(docs) == before
    without = Choice(exclude=("sub",))
    assert (look_at([str(docs)], Choice(), seconds=60).files, look_at([str(docs)], without, seconds=60).files) == (2, 1)


def test_no_file_is_read(docs):
    (docs / "a.md").chmod(0)
    (docs / "sub/b.md").unlink()
    os.mkfifo(docs / "sub/b.md")  # would never end
    assert look_at([str(docs)], Choice(), seconds=60).files == 1


def test_a_folder_that_is_missing_is_named(docs, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    found = look_at([str(docs), str(elsewhere)], Choice(), seconds=60)
    assert (found.files, found.missing) == (2, (f"{elsewhere} does not exist",))
    elsewhere.mkdir()
    assert digest(docs, elsewhere) != found.digest


def test_one_file(docs):
    before = digest(docs / "a.md")
    later(docs)
    assert digest(docs / "a.md") != before


def test_it_ends_in_time(docs):
    assert look_at([str(docs)], Choice(), seconds=-1) is None
