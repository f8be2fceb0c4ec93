"""The library's vectors are computed in a process of its own."""

import logging
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from embedding_assets.encoder import reference
from embedding_assets.encoder.files import ModelFiles
from embedding_assets.encoder.reference import references
from embedding_assets.errors import ModelUnavailableError
from embedding_assets_tests.support.tiny_model import DIMENSIONS, save_tiny_model


@pytest.fixture
def in_this_process() -> None:
    """Not here."""


@pytest.fixture
def files(tiny_model: Path) -> ModelFiles:
    return ModelFiles("tiny", "1", tiny_model)


def test_comparing_does_not_import_the_package_here(tmp_path: Path):
    folder = save_tiny_model(tmp_path / "tiny")
    code = (
        "import sys; from pathlib import Path; from embedding_assets.encoder.comparison import compare; "
        "from embedding_assets.encoder.files import ModelFiles; "
        f"compare(ModelFiles('tiny', '1', Path({str(folder)!r})), 'cpu', 32, 'float32'); "
        "assert not {'sentence_transformers', 'pandas', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_it_makes_no_difference_which_process_computes(
    files: ModelFiles, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG, "embedding_assets")
    elsewhere = references(files, "cpu", 32)
    assert "computed in this process" not in caplog.text
    # As where the interpreter is part of another program.
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    here = references(files, "cpu", 32)
    assert "computed in this process" in caplog.text
    for one, other in zip(elsewhere, here, strict=True):
        assert (one.texts, one.role) == (other.texts, other.role)
        assert len(one.texts) == len(one.vectors) == len(reference.AWKWARD_TEXTS) + 1
        assert one.vectors.shape[1] == DIMENSIONS
        np.testing.assert_allclose(one.vectors, other.vectors, atol=1e-6)


def test_the_other_process_computes_with_as_many_threads(files: ModelFiles, tmp_path: Path):
    """Whatever says how many: here a setting, which outweighs a variable."""
    interpreter = tmp_path / "interpreter"
    interpreter.write_text(f'#!/bin/sh\necho "$OMP_NUM_THREADS" > {shlex.quote(str(tmp_path / "threads"))}\nexit 1\n')
    interpreter.chmod(0o700)
    code = (
        "import sys; from pathlib import Path; from embedding_assets.encoder.comparison import load_compared; "
        "from embedding_assets.encoder.files import ModelFiles; "
        f"sys.executable = {str(interpreter)!r}; "
        f"load_compared(ModelFiles('tiny', '1', Path({str(files.path)!r})), 'cpu', 32, 'float32', threads=1)"
    )
    folders = {"HF_HOME": str(tmp_path), "HF_ASSETS_CACHE": str(tmp_path / "assets")}
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, **folders, "OMP_NUM_THREADS": "2"})
    assert (tmp_path / "threads").read_text() == "1\n"


def test_what_fails_there_is_an_error_here(files: ModelFiles):
    (files.path / "model.safetensors").write_bytes(b"no weights at all")
    with pytest.raises(ModelUnavailableError, match=r"the files of model tiny in .* cannot be loaded .*damaged"):
        references(files, "cpu", 32)
