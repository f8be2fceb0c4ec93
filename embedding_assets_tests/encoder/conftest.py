"""Models on disk, each made once."""

import shutil
from pathlib import Path

import pytest

from embedding_assets.encoder import demo_model
from embedding_assets.encoder.files import ModelFiles, locate_model
from embedding_assets_tests.support.tiny_model import save_tiny_model


@pytest.fixture(scope="session")
def demo_files(data_dir: Path) -> ModelFiles:
    """The demo model, with real weights."""
    return locate_model(demo_model.NAME, None, data_dir=data_dir, timeout_seconds=1)


@pytest.fixture(scope="session")
def saved_tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def tiny_model(saved_tiny_model: Path, tmp_path: Path) -> Path:
    """A folder that the test may change."""
    return Path(shutil.copytree(saved_tiny_model, tmp_path / "tiny"))
