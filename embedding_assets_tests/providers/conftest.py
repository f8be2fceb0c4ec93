"""Small real models."""

from pathlib import Path

import pytest

from embedding_assets_tests.support.tiny_model import PROMPTS, save_tiny_model


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def prompted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With prompts, without normalization."""
    return save_tiny_model(tmp_path_factory.mktemp("models") / "prompted", normalize=False, prompts=PROMPTS)
