"""Small real models, and settings made of variables."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from embedding_assets.config import Settings, get_settings
from embedding_assets.encoder.demo_model import NAME as DEMO_MODEL
from embedding_assets.postgres.connection import Database
from embedding_assets.providers.space_selection import select_for_run
from embedding_assets.spaces import SpaceColumn
from embedding_assets_tests.support.tiny_model import PROMPTS, save_tiny_model


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def prompted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With prompts, without normalization."""
    return save_tiny_model(tmp_path_factory.mktemp("models") / "prompted", normalize=False, prompts=PROMPTS)


@pytest.fixture
def configure(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settings]:
    """Settings with this test's database and exactly these variables."""

    def configure(**variables: object) -> Settings:
        for name in list(os.environ):
            if name.startswith("EMBEDDING_") and name not in ("EMBEDDING_DATABASE_URL", "EMBEDDING_DATA_DIR"):
                monkeypatch.delenv(name)
        for name, value in variables.items():
            monkeypatch.setenv(f"EMBEDDING_{name}", str(value))
        return get_settings()

    return configure


@pytest.fixture
def local(configure: Callable[..., Settings], database: Database) -> SpaceColumn:
    """The table's first space, the demo model's."""
    return select_for_run(configure(MODEL_NAME=DEMO_MODEL), database).column
