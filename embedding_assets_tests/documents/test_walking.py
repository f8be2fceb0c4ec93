"""Folders as people have them: what is read of them, and what is left out, counted."""

import os
import socket
from pathlib import Path

import pytest

from embedding_assets.documents.collections import LocalRoot
from embedding_assets.documents.finding import find_files
from embedding_assets.documents.formats.reading import is_readable
from embedding_assets.documents.ignoring import Choice
from embedding_assets.documents.rejection import Rejection
from embedding_assets.documents.walking import WalkCounts
from embedding_assets.errors import DocumentError
from embedding_assets.postgres.documents import Collection
from embedding_assets_tests.support.reading import written


def walked(folder: Path, choice: Choice | None = None) -> tuple[list[str], list[str], WalkCounts]:
    """Origins of the files to read, rejections, and what was left out."""
    counts = WalkCounts()
    root = LocalRoot(folder, Collection("c", str(folder), is_folder=True), "c", is_folder=True)
    found = list(find_files(root, choice or Choice(), is_readable, counts))
    rejections = [str(one) for one in found if isinstance(one, Rejection)]
    return [one.origin for one in found if not isinstance(one, Rejection)], rejections, counts


def make(folder: Path, *names: str) -> Path:
    for name in names:
        written(folder / name, "text")
    return folder


def test_files_come_in_order_and_the_rest_is_counted(tmp_path):
    make(
        tmp_path, "b/2.md", "b/1.TXT", "a.md", "c.text", ".hidden.md", ".git/x.md", "image.png", "b/x.PNG",
        "Dockerfile", "TODO", "x.ps.gz",
    )  # fmt: skip
    assert walked(tmp_path)[0] == ["c/TODO", "c/a.md", "c/b/1.TXT", "c/b/2.md", "c/c.text"]
    counts = walked(tmp_path)[2]
    assert counts.other_kinds == {".png": 2, "without a suffix": 1, ".ps.gz": 1}
    assert counts.left_out == {"hidden": 2}


def test_what_tools_make_is_left_out(tmp_path):
    make(
        tmp_path,
        "docs/a.md", "venv/lib/README.md", "venv/pyvenv.cfg", "node_modules/x/README.md", "site/build/guide.md",
        "pyproject.toml", "build/lib/a.md", "dist/a.txt", "x/__pycache__/a.txt", "demo.egg-info/SOURCES.txt",
        "store/CACHEDIR.TAG", "store/a.md", "requirements.txt", "requirements-dev.txt", "CMakeLists.txt", "robots.txt",
    )  # fmt: skip
    files, rejections, counts = walked(tmp_path)
    assert (files, rejections) == (["c/docs/a.md", "c/site/build/guide.md"], [])
    assert counts.left_out == {
        "virtual environments": 1, "node_modules": 1, "build": 1, "dist": 1, "__pycache__": 1, "*.egg-info": 1,
        "caches": 1, "for machines, as requirements.txt": 4,
    }  # fmt: skip
    assert len(walked(tmp_path, Choice(all_files=True))[0]) == 13


def test_files_for_machines_are_left_out_by_their_names(tmp_path):
    names = {
        "lock files": [
            "poetry.lock",
            "yarn.lock",
            "Cargo.lock",
            "uv.lock",
            "package-lock.json",
            "pnpm-lock.yaml",
            "go.sum",
            "~$Report.docx",
        ],
        "minified code": ["jquery.min.js", "site-min.css", "app.min.mjs"],
        "source maps": ["app.js.map", "site.css.map", "main.ts.map"],
        "generated code": ["api_pb2.py", "api_pb2_grpc.py", "api_pb2.pyi", "api.pb.go", "Form.Designer.cs"],
        "checkpoints of notebooks": ["study-checkpoint.ipynb"],
        "for machines, as requirements.txt": ["package.json", "tsconfig.app.json", "composer.json"],
    }
    make(tmp_path, *(name for kind in names.values() for name in kind))
    make(tmp_path, "admin.js", "locks.md", "Sources.txt", "pb2.py", "packages.json", ".ipynb_checkpoints/a.ipynb")
    files, _, counts = walked(tmp_path)
    assert files == ["c/Sources.txt", "c/admin.js", "c/locks.md", "c/packages.json", "c/pb2.py"]
    assert counts.left_out == {kind: len(found) for kind, found in names.items()} | {"hidden": 1}
    taken, _, counts = walked(tmp_path, Choice(all_files=True))
    assert {"c/api_pb2.py", "c/jquery.min.js", "c/package-lock.json", "c/study-checkpoint.ipynb"} <= set(taken)
    assert counts.left_out == {"hidden": 1}


def test_what_gitignore_names_is_left_out(tmp_path):
    make(tmp_path, "a.md", "drafts/b.md", "drafts/keep.md", "sub/c.tmp.md", "sub/d.md", "sub/deep/e.md", "notes.md")
    written(tmp_path / ".gitignore", "drafts/*\n!drafts/keep.md\n*.tmp.md\n/notes.md\n[\n# a comment\n\n")
    written(tmp_path / "sub/.gitignore", "deep/\n!c.tmp.md\n")
    files, _, counts = walked(tmp_path)
    assert files == ["c/a.md", "c/drafts/keep.md", "c/sub/c.tmp.md", "c/sub/d.md"]
    assert counts.left_out == {"hidden": 2, ".gitignore": 3}
    assert len(walked(tmp_path, Choice(all_files=True))[0]) == 7


def test_the_rules_of_the_checkout_around_a_folder_hold_in_it(tmp_path):
    make(tmp_path / "checkout", ".git/HEAD", "docs/a.md", "docs/api/b.md")
    written(tmp_path / "checkout/.gitignore", "docs/api/\n")
    written(tmp_path / ".gitignore", "*\n")
    assert walked(tmp_path / "checkout/docs")[0] == ["c/a.md"]
    assert walked(make(tmp_path / "plain", "a.md"))[0] == ["c/a.md"]


def test_patterns_choose_files(tmp_path):
    make(tmp_path, "a.md", "b.txt", "drafts/c.md", "guide/d.md", "guide/old/e.md")
    files, _, counts = walked(tmp_path, Choice(include=("*.md", "!a.md"), exclude=("drafts/", "old")))
    assert files == ["c/guide/d.md"]
    assert counts.left_out == {"--exclude": 2, "--include": 2}
    with pytest.raises(DocumentError, match="--exclude: "):
        Choice(exclude=("!",)).check()


def test_links_pipes_and_sockets(tmp_path, monkeypatch):
    make(tmp_path, "a.md", "sub/b.md")
    (tmp_path / "linked.md").symlink_to("a.md")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "circle.md").symlink_to("circle.md")
    (tmp_path / "nowhere.md").symlink_to("nothing")
    (tmp_path / "folder.md").mkdir()
    os.mkfifo(tmp_path / "pipe.md")
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(tmp_path)  # an address has room for a hundred characters
        listener.bind("socket.md")
        files, rejections, counts = walked(tmp_path)
    assert (files, rejections) == (["c/a.md", "c/linked.md", "c/sub/b.md"], [])
    assert counts.left_out == {
        "links in a circle": 1, "linked folders": 1, "links that lead nowhere": 1, "pipes, sockets and devices": 2,
    }  # fmt: skip


def test_names_that_are_no_names(tmp_path):
    make(tmp_path, "line\nbreak.md", "[bold]é😀.md", "\x1b[2J.md")
    for number in range(20):
        written(tmp_path / "/".join(["d" * 120] * number) / "deep.md", "text")
    try:
        written(tmp_path / os.fsdecode(b"\xff.md"), "text")
    except OSError:
        pytest.skip("this file system keeps names in UTF-8")
    files, rejections, _ = walked(tmp_path)
    assert {"c/line\nbreak.md", "c/[bold]é😀.md", "c/\x1b[2J.md", "c/deep.md"} <= set(files)
    assert "c/�.md: has a name that is not valid UTF-8" in rejections
    assert any(rejection.endswith("has a path of more than 2,000 bytes") for rejection in rejections)


def test_a_folder_without_rights_is_named(tmp_path, monkeypatch):
    make(tmp_path, "a.md", "closed/b.md")
    listed = os.scandir

    def scandir(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    files, rejections, counts = walked(tmp_path)
    assert (files, rejections, counts.unread) == (["c/a.md"], ["c/closed: cannot be read: Permission denied"], [
        "c/closed"])  # fmt: skip
