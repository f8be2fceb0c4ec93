"""The models of this process, each loaded once and shared by all callers."""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING

from embedding_assets.encoder.device import resolve_device
from embedding_assets.encoder.files import ModelFiles
from embedding_assets.imports import without_collection

if TYPE_CHECKING:
    from embedding_assets.encoder.model import LoadedModel
    from embedding_assets.encoder.precision import Requested

logger = logging.getLogger(__name__)

_models: dict[tuple[str, str, str, int, str, int | None], LoadedModel] = {}
_lock = threading.Lock()


def get_model(
    files: ModelFiles,
    *,
    device: str,
    max_tokens: int,
    precision: Requested = "auto",
    threads: int | None = None,
) -> LoadedModel:
    """The model of this process, loaded at the first call; concurrent callers wait for one load.

    At module level, since every Dagster step sets its resources up again.

    Raises:
        ModelUnavailableError: the files cannot be loaded, or not computed as its library does.
        ConfigurationError: the device is not there, or cannot compute in this precision; or the model not in int8.
    """
    with without_collection():
        # Not with this module: it brings torch.
        from embedding_assets.encoder.comparison import load_compared

    device = resolve_device(device)
    key = (str(files.path), files.revision, device, max_tokens, precision, threads)
    with _lock:
        if key not in _models:
            logger.info("loading model %s", files.name)
            _models[key] = load_compared(files, device, max_tokens, precision, threads)
        return _models[key]


def release_models() -> None:
    """Forget all models and end the threads that computed them, so that their memory can be reused."""
    import gc

    import torch

    from embedding_assets.encoder.streams import end_streams

    with _lock:
        _models.clear()
    end_streams()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _renew_lock() -> None:
    global _lock  # noqa: PLW0603 (a thread of the parent may have held it, and is not here)
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_renew_lock)
