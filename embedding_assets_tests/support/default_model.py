"""The published default model, where the person who runs the tests has it."""

import os
from pathlib import Path

import pytest

from embedding_assets.config import DEFAULT_MODEL_NAME, DEFAULT_MODEL_REVISION
from embedding_assets.encoder.files import ModelFiles

HUB_CACHE = "HUB_CACHE_OUTSIDE_OF_THE_TESTS"


def published_model() -> ModelFiles:
    """The files of the default model, or the test is skipped."""
    folder = Path(os.environ[HUB_CACHE]) / f"models--{DEFAULT_MODEL_NAME.replace('/', '--')}"
    path = folder / "snapshots" / DEFAULT_MODEL_REVISION
    if not (path / "modules.json").is_file():
        pytest.skip("the default model is not cached: `embedding-assets fetch-model` puts it there")
    return ModelFiles(DEFAULT_MODEL_NAME, DEFAULT_MODEL_REVISION, path)
