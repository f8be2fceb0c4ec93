"""A cross-encoder: a model that reads a question and a text together, and says how well they fit."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedding_assets.encoder.device import resolve_device
from embedding_assets.encoder.files import is_folder
from embedding_assets.encoder.loading import checked_loading
from embedding_assets.encoder.threads import use_available_threads
from embedding_assets.errors import ConfigurationError, ModelUnavailableError, ProviderError
from embedding_assets.imports import without_collection

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder as Model

logger = logging.getLogger(__name__)

_SETTING = "EMBEDDING_RERANK_MODEL"

_BATCH_TEXTS = 16


class CrossEncoder:
    """A cross-encoder of sentence-transformers, loaded when it is first needed. May be called from several threads.

    Args:
        name: a folder, or a Hugging Face model that is cached; nothing is fetched, and no code of a model is run.
        revision: commit of its repository.
        device: as ``EMBEDDING_DEVICE``.
        threads: of the CPU; default: those that this process has cores for.
    """

    def __init__(self, name: str, revision: str | None, *, device: str, threads: int | None = None) -> None:
        self._name = name
        self._revision = revision
        self._device = device
        self._threads = threads
        self._model: Model | None = None
        # Its tokenizer is not for several threads, and one question at a time has all cores.
        self._lock = threading.Lock()

    def scores(self, question: str, texts: Sequence[str]) -> list[float]:
        """How well each text answers the question; higher is better.

        Raises:
            ConfigurationError: the model makes several numbers of a text, or the device is not there.
            ModelUnavailableError: its files cannot be had, or not be used.
            ProviderError: it fails on these texts.
        """
        if not texts:
            return []
        with self._lock:
            if self._model is None:
                self._model = self._load()
            try:
                found = self._model.predict(
                    [(question, text) for text in texts], batch_size=_BATCH_TEXTS, show_progress_bar=False
                )
            except Exception as error:
                raise ProviderError(
                    f"cross-encoder {self._name} fails on these texts ({type(error).__name__}); check the device's "
                    "memory and drivers, or set EMBEDDING_DEVICE=cpu"
                ) from error
        scores = [float(score) for score in found]
        if not all(map(math.isfinite, scores)):
            raise ProviderError(
                f"cross-encoder {self._name} makes numbers that are not finite; choose another {_SETTING}"
            )
        return scores

    def _load(self) -> Model:
        started = time.monotonic()
        path = _locate(self._name, self._revision)
        device = resolve_device(self._device)
        if device == "cpu":
            use_available_threads(self._threads)
        with without_collection():
            from sentence_transformers import CrossEncoder as Model

        options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            with checked_loading(self._name, setting=_SETTING):
                model: Model = Model(str(path), device=device, model_kwargs={"use_safetensors": True}, **options)
        except ModelUnavailableError:
            raise
        except Exception as error:
            raise ModelUnavailableError(
                f"the files of {self._name} in {path} cannot be loaded as a cross-encoder ({type(error).__name__}); "
                f"choose another {_SETTING}"
            ) from error
        if model.num_labels != 1:
            raise ConfigurationError(
                f"{self._name} makes {model.num_labels} numbers of a text, where a reranker makes one; choose another "
                f"{_SETTING}"
            )
        logger.info("loaded cross-encoder %s on %s in %.1f s", self._name, device, time.monotonic() - started)
        return model


def _locate(name: str, revision: str | None) -> Path:
    """The folder of a model's files."""
    if is_folder(name):
        if revision is not None:
            raise ConfigurationError("EMBEDDING_RERANK_REVISION has no meaning for a model folder; unset it")
        path = Path(name).expanduser().resolve()
    else:
        path = _from_cache(name, revision)
    if not any(path.rglob("*.safetensors")):
        raise ModelUnavailableError(
            f"{name} has no safetensors weights; other formats can run code when they are read and are not loaded. "
            f"Convert the model or choose another {_SETTING}"
        )
    return path


def _from_cache(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ConfigurationError(f"{_SETTING}: there is no folder {name}")
    try:
        return Path(snapshot_download(name, revision=revision, local_files_only=True))
    except HFValidationError:
        raise ConfigurationError(f"{_SETTING}: {name!r} is neither a folder nor a model's name") from None
    except FileNotFoundError:
        at = f" --revision {revision}" if revision else ""
        raise ModelUnavailableError(
            f"cross-encoder {name} is not cached; fetch it with `hf download {name}{at}`, or set {_SETTING} to a "
            "folder with the model"
        ) from None
