"""A loaded model: texts to tokens, batches of tokens to vectors."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from embedding_assets.encoder.allocator import keep_temporaries
from embedding_assets.encoder.device import width_multiple
from embedding_assets.encoder.files import ModelFiles
from embedding_assets.encoder.loading import cannot_be_loaded
from embedding_assets.encoder.streams import Computation, check_wanted, compute, streams_suit
from embedding_assets.encoder.threads import use_available_threads
from embedding_assets.encoder.tokens import Role, TokenizedText
from embedding_assets.errors import ModelUnavailableError

if TYPE_CHECKING:
    import torch

    from embedding_assets.encoder.layers import Layers
    from embedding_assets.encoder.ways import Way

logger = logging.getLogger(__name__)

DOCUMENT: Final = Role()
"""A document without a prompt."""


class Pending(Protocol):
    """A batch whose vectors are on their way."""

    def numpy(self) -> NDArray[np.float32]:
        """Wait for them; shape (texts, dimensions)."""
        ...

    def give_up(self) -> None:
        """Compute no more of it than must be; nothing waits for it."""
        ...


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

    def give_up(self) -> None:
        """A device finishes what it was given."""


@dataclass(frozen=True, slots=True)
class ComputedElsewhere:
    """Vectors that other threads compute."""

    computation: Computation

    def numpy(self) -> NDArray[np.float32]:
        """Wait for them; shape (texts, dimensions)."""
        vectors: NDArray[np.float32] = self.computation.result().numpy()
        return vectors

    def give_up(self) -> None:
        """Stop at the next layer."""
        self.computation.give_up()


class LoadedModel:
    """A sentence-transformers model in memory. All methods may be called from several threads.

    Args:
        files: the model's.
        device: torch device, e.g. ``cpu`` or ``cuda:0``.
        max_tokens: of a text.
        way: how it is computed.
        threads: of the CPU; default: those that this process has cores for.

    Attributes:
        device: as given.
        precision: in which the transformer's layers compute.
        dimensions: length of a vector.
        width_multiple: tokens of the widest text of a batch are rounded up to a multiple of this.
        threads: of the CPU that compute; 0 on other devices.
        streams: batches that are computed side by side.
        lookahead: batches that may be started before the first one's vectors are asked for.
        load_seconds: how long loading took.
    """

    def __init__(
        self, files: ModelFiles, device: str, max_tokens: int, way: Way, *, threads: int | None = None
    ) -> None:
        started = time.monotonic()
        keep_temporaries()
        self.device = device
        self.precision = way.precision
        self.threads = 0
        self.streams = 1
        if device == "cpu":
            available = use_available_threads(threads)
            self.threads = available.count
            self.streams = self.threads if streams_suit(self.threads, way.precision) else 1
        self._layers = _load(files, device, max_tokens, way)
        _check_between_layers(self._layers)
        self.width_multiple = width_multiple(device, self.precision)
        # A GPU is never to wait for the host, nor a stream for the slowest of them.
        self.lookahead = 2 if device.startswith("cuda") else 2 * self.streams - 1 if self.threads else 0
        self._max_tokens = max_tokens
        self.dimensions = self.encode(self.tokenize(["dimensions"])).shape[1]
        self.load_seconds = time.monotonic() - started
        logger.info(
            "loaded %s on %s in %s in %.1f s",
            files.name,
            f"{device} ({available.count} threads by {available.reason}, batches side by side: {self.streams})"
            if self.threads
            else device,
            self.precision,
            self.load_seconds,
        )

    def tokenize(self, texts: Sequence[str], role: Role = DOCUMENT) -> list[TokenizedText]:
        """Tokens of each text behind its prompt, cut to the model's input length."""
        return self._layers.tokenize(texts, role)

    def encode(self, batch: Sequence[TokenizedText], role: Role = DOCUMENT) -> NDArray[np.float32]:
        """One forward pass over texts that were tokenized in this role.

        Returns:
            Vectors, shape (len(batch), dimensions), in the order of ``batch``.
        """
        return self.start(batch, role, alone=True).numpy()

    def start(self, batch: Sequence[TokenizedText], role: Role = DOCUMENT, *, alone: bool = False) -> Pending:
        """Begin a forward pass; vectors as those of ``encode``, in the order of ``batch``.

        Args:
            batch: texts that were tokenized in this role.
            role: of the texts.
            alone: no other batch is started beside it, so that the whole machine may compute it.
        """
        if not self.threads:
            return self._forward(batch, role)
        return ComputedElsewhere(
            compute(lambda: self._forward(batch, role).host, self.threads, side_by_side=self.streams > 1, alone=alone)
        )

    def _forward(self, batch: Sequence[TokenizedText], role: Role) -> PendingVectors:
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
                role=role,
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


def _check_between_layers(layers: Layers) -> None:
    """Let a computation that was given up end at the next layer of the transformer."""
    from torch import nn

    for stack in [module for module in layers.modules() if isinstance(module, nn.ModuleList)]:
        for layer in stack:
            layer.register_forward_pre_hook(check_wanted)


def _load(files: ModelFiles, device: str, max_tokens: int, way: Way) -> Layers:
    from embedding_assets.encoder.ways import load_layers

    try:
        return load_layers(files, device, max_tokens, way)
    except ModelUnavailableError:
        raise
    except Exception as error:
        raise cannot_be_loaded(files, error) from error
