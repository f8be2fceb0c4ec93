"""A loaded model: texts to tokens, batches of tokens to vectors. One per process, shared by all callers."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding

from embedding_assets.encoder.allocator import keep_temporaries
from embedding_assets.encoder.device import resolve_device, width_multiple
from embedding_assets.encoder.files import ModelFiles
from embedding_assets.encoder.precision import Precision, resolve_precision
from embedding_assets.errors import ModelUnavailableError

if TYPE_CHECKING:
    import torch

    from embedding_assets.encoder.layers import Layers

logger = logging.getLogger(__name__)

_TOKENIZED_TOGETHER = 128
_USUAL_CHARACTERS_PER_TOKEN = 32


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """Token ids of one text, special tokens included, and whether the model reads less than the whole."""

    ids: list[int]
    truncated: bool


@dataclass(frozen=True, slots=True)
class PendingVectors:
    """Vectors that a device may still be working on."""

    host: torch.Tensor
    ready: torch.cuda.Event | None

    def numpy(self) -> NDArray[np.float32]:
        """Wait for the device; shape (texts, dimensions)."""
        if self.ready is not None:
            self.ready.synchronize()
        vectors: NDArray[np.float32] = self.host.numpy()
        return vectors


class LoadedModel:
    """A sentence-transformers model in memory. All methods may be called from several threads.

    Attributes:
        device: torch device, e.g. ``cpu`` or ``cuda:0``.
        precision: in which the transformer's layers compute.
        dimensions: length of a vector.
        width_multiple: tokens of the widest text of a batch are rounded up to a multiple of this.
        lookahead: batches that may be started before the first one's vectors are asked for.
        load_seconds: how long loading took.
    """

    def __init__(
        self,
        files: ModelFiles,
        device: str,
        max_tokens: int,
        precision: Literal["auto", "float32", "bfloat16"] = "auto",
    ) -> None:
        started = time.monotonic()
        keep_temporaries()
        self.device = resolve_device(device)
        self._layers = _load(files, self.device, resolve_precision(precision, self.device))
        self.precision: Precision = self._layers.precision
        if precision == "bfloat16" and self.precision != precision:
            logger.warning(
                "EMBEDDING_PRECISION=bfloat16 is not honoured: %s computes in float32 here, since it was not compared "
                "with the library's result in less",
                files.name,
            )
        self.width_multiple = width_multiple(self.device, self.precision)
        # A GPU is never to wait for the host; on a CPU a batch is finished when it has been started.
        self.lookahead = 2 if self.device.startswith("cuda") else 0
        self._max_tokens = max_tokens
        self._tokenizer = self._layers.tokenizer
        self._tokenizer.enable_truncation(max_tokens)
        self._usual_characters = _USUAL_CHARACTERS_PER_TOKEN * max_tokens
        self.dimensions = self.encode(self.tokenize(["dimensions"])).shape[1]
        self.load_seconds = time.monotonic() - started
        logger.info("loaded %s on %s in %s in %.1f s", files.name, self.device, self.precision, self.load_seconds)

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
        return self.start(batch, prompt).numpy()

    def start(self, batch: Sequence[TokenizedText], prompt: str = "") -> PendingVectors:
        """Begin a forward pass; vectors as those of ``encode``, in the order of ``batch``."""
        import torch

        is_cuda = self.device.startswith("cuda")
        width = self._width(batch)
        # Pinned memory, or the copies would wait for the device.
        input_ids = torch.full((len(batch), width), self._layers.pad_id, pin_memory=is_cuda)
        attention_mask = torch.zeros((len(batch), width), dtype=torch.long, pin_memory=is_cuda)
        for row, text in enumerate(batch):
            input_ids[row, : len(text.ids)] = torch.tensor(text.ids)
            attention_mask[row, : len(text.ids)] = 1
        with torch.inference_mode():
            vectors = self._layers(
                input_ids.to(self.device, non_blocking=is_cuda),
                attention_mask.to(self.device, non_blocking=is_cuda),
                padded=any(len(text.ids) < width for text in batch),
                prompt_tokens=self._tokens_of(prompt),
            )
            if not is_cuda:
                return PendingVectors(vectors.to("cpu", torch.float32), None)
            host = torch.empty(vectors.shape, dtype=torch.float32, pin_memory=True)
            host.copy_(vectors, non_blocking=True)
            ready = torch.cuda.Event()  # type: ignore[no-untyped-call]
            # Of the model's own device, which need not be the current one.
            ready.record(torch.cuda.current_stream(vectors.device))
            return PendingVectors(host, ready)

    def _width(self, batch: Sequence[TokenizedText]) -> int:
        width = max(len(text.ids) for text in batch)
        # Not past what the model reads: it may have no positions there.
        return min(-(-width // self.width_multiple) * self.width_multiple, max(width, self._max_tokens))

    def _tokens_of(self, prompt: str) -> int:
        """Tokens that a prompt takes at the beginning of a text; a closing special token belongs to the text."""
        if not prompt:
            return 0
        encoding = self._tokenizer.encode(prompt)
        return len(encoding) - encoding.special_tokens_mask[-1]


_models: dict[tuple[str, str, str, int, str], LoadedModel] = {}
_lock = threading.Lock()


def get_model(
    files: ModelFiles, *, device: str, max_tokens: int, precision: Literal["auto", "float32", "bfloat16"] = "auto"
) -> LoadedModel:
    """The model of this process, loaded at the first call; concurrent callers wait for one load.

    At module level, since every Dagster step sets its resources up again.

    Raises:
        ModelUnavailableError: the files cannot be loaded.
        ConfigurationError: the device is not there, or cannot compute in this precision.
    """
    device = resolve_device(device)
    key = (str(files.path), files.revision, device, max_tokens, precision)
    with _lock:
        if key not in _models:
            _models[key] = LoadedModel(files, device, max_tokens, precision)
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


def _load(files: ModelFiles, device: str, precision: Precision) -> Layers:
    from embedding_assets.encoder.layers import load_layers

    try:
        return load_layers(files, device, precision)
    except ModelUnavailableError:
        raise
    except Exception as error:
        # Damaged files make the libraries raise whatever they stumble over.
        raise ModelUnavailableError(
            f"the files of model {files.name} in {files.path} cannot be loaded ({type(error).__name__}: {error}); "
            "if the folder is damaged, remove it so that it is fetched again"
        ) from error
