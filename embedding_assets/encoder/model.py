"""A loaded model: texts to tokens, batches of tokens to vectors. One per process, shared by all callers."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from embedding_assets.encoder.device import resolve_device
from embedding_assets.encoder.files import ModelFiles
from embedding_assets.errors import ModelUnavailableError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

__all__ = ["LoadedModel", "TokenizedText", "get_model", "release_models"]

logger = logging.getLogger(__name__)

_TOKENIZED_TOGETHER = 128


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """Token ids of one text, special tokens included, and whether the model reads less than the whole."""

    ids: list[int]
    truncated: bool


class LoadedModel:
    """A sentence-transformers model in memory. All methods may be called from several threads.

    Attributes:
        device: torch device, e.g. ``cpu`` or ``cuda:0``.
        dimensions: length of a vector.
        load_seconds: how long loading took.
    """

    def __init__(self, files: ModelFiles, device: str, max_tokens: int) -> None:
        started = time.monotonic()
        self.device = resolve_device(device)
        self._model = _load(files, self.device)
        self._transformer: Any = self._model[0]
        self._model.max_seq_length = max_tokens
        backend = getattr(self._model.tokenizer, "backend_tokenizer", None)
        if not isinstance(backend, Tokenizer):
            raise ModelUnavailableError(
                f"model {files.name} has no fast tokenizer; choose another EMBEDDING_MODEL_NAME"
            )
        # A copy: truncation is a state of the tokenizer, and callers must not change each other's.
        self._tokenizer = Tokenizer.from_str(backend.to_str())
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens)
        self.dimensions = int(self._model.get_embedding_dimension() or 0)
        self.load_seconds = time.monotonic() - started
        logger.info("loaded %s on %s in %.1f s", files.name, self.device, self.load_seconds)

    def tokenize(self, texts: Sequence[str], prompt: str = "") -> list[TokenizedText]:
        """Tokens of each text behind ``prompt``, cut to the model's input length."""
        lower = bool(getattr(self._transformer, "do_lower_case", False))
        prepared = [f"{prompt}{text.strip()}" for text in texts]
        if lower:
            prepared = [text.lower() for text in prepared]
        tokenized: list[TokenizedText] = []
        # In slices: an Encoding takes some fifty times the memory of its ids.
        for start in range(0, len(prepared), _TOKENIZED_TOGETHER):
            encodings = self._tokenizer.encode_batch_fast(prepared[start : start + _TOKENIZED_TOGETHER])
            tokenized += [TokenizedText(encoding.ids, bool(encoding.overflowing)) for encoding in encodings]
        return tokenized

    def encode(self, batch: Sequence[TokenizedText], prompt: str = "") -> NDArray[np.float32]:
        """One forward pass.

        Returns:
            Vectors, shape (len(batch), dimensions), in the order of ``batch``.
        """
        import torch

        features: dict[str, Any] = self._model.tokenizer.pad(
            {"input_ids": [text.ids for text in batch]}, return_tensors="pt"
        ).to(self.device)
        if prompt:
            # For models whose pooling leaves the prompt out; the closing special token belongs to the text.
            features["prompt_length"] = len(self._tokenizer.encode(prompt).ids) - 1
        with torch.inference_mode():
            output = self._model.forward(features)["sentence_embedding"]
            vectors: NDArray[np.float32] = output.to("cpu", torch.float32).numpy()
        return vectors


_models: dict[tuple[str, str, str, int], LoadedModel] = {}
_lock = threading.Lock()


def get_model(files: ModelFiles, *, device: str, max_tokens: int) -> LoadedModel:
    """The model of this process, loaded at the first call; concurrent callers wait for one load.

    At module level, since every Dagster step sets its resources up anew.

    Raises:
        ModelUnavailableError: the files cannot be loaded.
        ConfigurationError: the device is not there.
    """
    key = (str(files.path), files.revision, device, max_tokens)
    with _lock:
        if key not in _models:
            _models[key] = LoadedModel(files, device, max_tokens)
        return _models[key]


def release_models() -> None:
    """Forget all models, so that their memory can be reused."""
    import gc

    import torch

    with _lock:
        _models.clear()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _load(files: ModelFiles, device: str) -> SentenceTransformer:
    import transformers
    from sentence_transformers import SentenceTransformer

    # A progress bar of its own would tear the command line's.
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        return SentenceTransformer(
            str(files.path),
            device=device,
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True},
        ).eval()
    except (OSError, ValueError, RuntimeError, KeyError, ImportError) as error:
        raise ModelUnavailableError(
            f"the files of model {files.name} in {files.path} cannot be loaded ({type(error).__name__}: {error}); "
            "if the folder is damaged, remove it so that it is fetched again"
        ) from error
