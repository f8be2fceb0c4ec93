"""A loaded model: texts to tokens, batches of tokens to vectors. One per process, shared by all callers."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding

from embedding_assets.encoder.device import resolve_device
from embedding_assets.encoder.files import ModelFiles
from embedding_assets.errors import ModelUnavailableError

if TYPE_CHECKING:
    from embedding_assets.encoder.layers import Layers

__all__ = ["LoadedModel", "TokenizedText", "get_model", "release_models"]

logger = logging.getLogger(__name__)

_TOKENIZED_TOGETHER = 128
_USUAL_CHARACTERS_PER_TOKEN = 32


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
        self._layers = _load(files).to(self.device)
        self._tokenizer = self._layers.tokenizer
        self._tokenizer.enable_truncation(max_tokens)
        self._usual_characters = _USUAL_CHARACTERS_PER_TOKEN * max_tokens
        self.dimensions = self.encode(self.tokenize(["dimensions"])).shape[1]
        self.load_seconds = time.monotonic() - started
        logger.info("loaded %s on %s in %.1f s", files.name, self.device, self.load_seconds)

    def tokenize(self, texts: Sequence[str], prompt: str = "") -> list[TokenizedText]:
        """Tokens of each text behind ``prompt``, cut to the model's input length."""
        prepared = [f"{prompt}{text}" for text in texts]
        tokenized: list[TokenizedText] = []
        # In slices: an Encoding takes some fifty times the memory of its ids.
        for start in range(0, len(prepared), _TOKENIZED_TOGETHER):
            portion = prepared[start : start + _TOKENIZED_TOGETHER]
            # Only the beginning of a long text: of 10 MB the tokenizer makes 1 GB, to throw nearly all of it away.
            encodings = self._tokenizer.encode_batch_fast([text[: self._usual_characters] for text in portion])
            for text, beginning in zip(portion, encodings, strict=True):
                encoding = self._extended(text, beginning)
                tokenized.append(TokenizedText(encoding.ids, bool(encoding.overflowing)))
        return tokenized

    def _extended(self, text: str, encoding: Encoding) -> Encoding:
        """The encoding of more of the text, until what the model reads ends well before the cut, or of all of it."""
        size = self._usual_characters
        while len(text) > size and not (encoding.overflowing and len(encoding.overflowing[0]) == len(encoding)):
            size *= 8
            encoding = self._tokenizer.encode(text[:size])
        return encoding

    def encode(self, batch: Sequence[TokenizedText], prompt: str = "") -> NDArray[np.float32]:
        """One forward pass.

        Returns:
            Vectors, shape (len(batch), dimensions), in the order of ``batch``.
        """
        import torch

        width = max(len(text.ids) for text in batch)
        input_ids = torch.full((len(batch), width), self._layers.pad_id)
        attention_mask = torch.zeros((len(batch), width), dtype=torch.long)
        for row, text in enumerate(batch):
            input_ids[row, : len(text.ids)] = torch.tensor(text.ids)
            attention_mask[row, : len(text.ids)] = 1
        with torch.inference_mode():
            output = self._layers(input_ids.to(self.device), attention_mask.to(self.device), self._tokens_of(prompt))
            vectors: NDArray[np.float32] = output.to("cpu", torch.float32).numpy()
        return vectors

    def _tokens_of(self, prompt: str) -> int:
        """Tokens that a prompt takes at the beginning of a text; a closing special token belongs to the text."""
        if not prompt:
            return 0
        encoding = self._tokenizer.encode(prompt)
        return len(encoding) - encoding.special_tokens_mask[-1]


_models: dict[tuple[str, str, str, int], LoadedModel] = {}
_lock = threading.Lock()


def get_model(files: ModelFiles, *, device: str, max_tokens: int) -> LoadedModel:
    """The model of this process, loaded at the first call; concurrent callers wait for one load.

    At module level, since every Dagster step sets its resources up anew.

    Raises:
        ModelUnavailableError: the files cannot be loaded.
        ConfigurationError: the device is not there.
    """
    device = resolve_device(device)
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


def _load(files: ModelFiles) -> Layers:
    from embedding_assets.encoder.layers import load_layers

    try:
        return load_layers(files)
    except Exception as error:
        # Damaged files make the libraries raise whatever they stumble over.
        raise ModelUnavailableError(
            f"the files of model {files.name} in {files.path} cannot be loaded ({type(error).__name__}: {error}); "
            "if the folder is damaged, remove it so that it is fetched again"
        ) from error
