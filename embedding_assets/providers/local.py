"""Vectors from a sentence-transformers model in this process."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embedding_assets.config import EmbeddingConfig
from embedding_assets.encoder.allocator import Heap
from embedding_assets.encoder.device import default_batch_texts, default_batch_tokens, is_out_of_memory
from embedding_assets.encoder.files import ModelFiles
from embedding_assets.encoder.model import LoadedModel, Pending
from embedding_assets.encoder.shared import get_model
from embedding_assets.encoder.tokens import Role, TokenizedText
from embedding_assets.errors import ConfigurationError, EmbeddingAssetsError, ProviderError
from embedding_assets.planning import even_share, halve, plan_batches
from embedding_assets.providers.base import EmbeddedBatch, StillWanted
from embedding_assets.providers.prompts import warn_of_missing_prompts
from embedding_assets.spaces import INT8, MOST_DIMENSIONS, VectorSpace

logger = logging.getLogger(__name__)

_BYTES_PER_TOKEN: Final = 32 * 1024
"""Temporaries of a full-size transformer's layer in float32, of 768 and 3,072 features, for each token of a batch."""

_LEAST_SHARE: Final = 64
"""Tokens of a batch that are worth a stream of their own."""

_Started = tuple[list[int], Pending | Exception]
"""A batch of indices, and what became of starting it."""

_PROBE: Final = "The quick brown fox jumps over the lazy dog."


def local_space(files: ModelFiles, config: EmbeddingConfig) -> VectorSpace:
    """The vector space that these files span under these settings; reads configuration files only.

    Raises:
        ConfigurationError: ``EMBEDDING_DIMENSIONS`` is not what the model makes.
    """
    dimensions = files.dimensions or config.dimensions
    if config.dimensions < dimensions and files.may_be_cut:
        dimensions = config.dimensions
    if dimensions > max(MOST_DIMENSIONS.values()):
        raise ConfigurationError(
            f"{files.name} makes vectors of {dimensions:,} dimensions, and a column can have at most "
            f"{max(MOST_DIMENSIONS.values()):,}; choose another EMBEDDING_MODEL_NAME"
        )
    if dimensions != config.dimensions:
        raise ConfigurationError(
            f"EMBEDDING_DIMENSIONS is {config.dimensions}, but {files.name} makes vectors of {dimensions}; "
            f"set EMBEDDING_DIMENSIONS={dimensions} or choose another EMBEDDING_MODEL_NAME"
        )
    return VectorSpace(
        provider="local",
        model=files.name,
        revision=files.revision + (INT8 if config.is_int8 else ""),
        dimensions=dimensions,
        normalized=files.normalized,
        prompt=files.prompt if config.document_prompt is None else config.document_prompt,
        max_tokens=files.max_tokens(config.max_seq_length),
    )


class LocalProvider:
    """Embeds on this machine's CPU or GPU; loads the model when it is first needed.

    Of a space of int8 documents alone are computed in that: the model computes questions as it does without the
    setting, on any machine.
    """

    def __init__(self, files: ModelFiles, config: EmbeddingConfig) -> None:
        self.space = local_space(files, config)
        self._files = files
        self._config = config
        self._query_prompt = files.query_prompt if config.query_prompt is None else config.query_prompt
        self._loaded: LoadedModel | None = None
        self._prepared: deque[dict[str, TokenizedText]] = deque(maxlen=2)

    @property
    def device(self) -> str:
        """The torch device; empty before the model is loaded."""
        return self._loaded.device if self._loaded else ""

    def load(self) -> float:
        """Load the model unless this process has it; returns the seconds spent.

        Raises:
            ModelUnavailableError: its files cannot be used.
            ConfigurationError: the device is missing, or the model's dimensions are not what its files say.
            ProviderError: it fails on any text.
        """
        if self._loaded is not None:
            return 0.0
        started = time.monotonic()
        try:
            model = get_model(
                self._files,
                device=self._config.device,
                max_tokens=self.space.max_tokens,
                precision=self._config.precision,
                threads=self._config.threads,
            )
        except EmbeddingAssetsError:
            raise
        except Exception as broken:
            # A model computes once when it is loaded.
            raise self._broken(self._config.device, broken) from broken
        cut = self.space.dimensions < model.dimensions and self._files.may_be_cut
        if model.dimensions != self.space.dimensions and not cut:
            raise ConfigurationError(
                f"EMBEDDING_DIMENSIONS is {self.space.dimensions}, but {self.space.model} makes {model.dimensions}; "
                f"set EMBEDDING_DIMENSIONS={model.dimensions} or choose another EMBEDDING_MODEL_NAME"
            )
        warn_of_missing_prompts(self.space.model, self.space.prompt, self._query_prompt)
        self._batch_tokens = self._config.batch_tokens or default_batch_tokens(
            model.device, model.precision, model.streams
        )
        is_set = "batch_size" in self._config.model_fields_set
        self._batch_texts = self._config.batch_size if is_set else default_batch_texts(model.device)
        # No less than the next batch wants again, or it would fault the same pages in again.
        self._heap = Heap(_BYTES_PER_TOKEN * self._batch_tokens * model.streams)
        self._loaded = model
        # Not the model's own time: it may have been in memory already.
        return time.monotonic() - started

    @property
    def window_texts(self) -> int:
        """Any number will do: the window's size is a setting."""
        return 1

    @property
    def precision(self) -> str:
        """In which format the transformer computes; empty before the model is loaded."""
        return self._loaded.precision if self._loaded else ""

    @property
    def threads(self) -> int:
        """Threads of the CPU that compute; 0 on other devices, and before the model is loaded."""
        return self._loaded.threads if self._loaded else 0

    @property
    def streams(self) -> int:
        """Batches that are computed side by side; 0 before the model is loaded."""
        return self._loaded.streams if self._loaded else 0

    def prepare(self, texts: Sequence[str]) -> None:
        """Tokenize documents of the next call while the device computes those of this one.

        Those of two calls are kept. Before the model is loaded this does nothing, and neither on a CPU, where it would
        gain nothing: all threads compute.
        """
        if self._loaded is None or self._loaded.threads:
            return
        try:
            tokens = self._loaded.tokenize(texts, Role(self.space.prompt))
        except Exception as error:  # noqa: BLE001 (one of them fails, which is found when they are embedded)
            logger.debug("%d texts could not be tokenized ahead (%s)", len(texts), type(error).__name__)
        else:
            self._prepared.append(dict(zip(texts, tokens, strict=True)))

    @cached_property
    def unrounded(self) -> LocalProvider:
        """The one that computes all texts of the space without int8: what vectors of int8 are to be like."""
        if not self.space.is_int8:
            return self
        provider = LocalProvider(self._files, self._config.model_copy(update={"precision": "auto"}))
        provider.space = self.space
        return provider

    def embed(self, texts: Sequence[str], *, query: bool = False) -> Iterator[EmbeddedBatch]:
        """Embed texts in batches of similar length, longest first.

        Raises:
            ProviderError: the model fails on any text.
        """
        if query and self.unrounded is not self:
            return self.unrounded.embed(texts, query=True)
        return self._embed(texts, Role(self._query_prompt if query else self.space.prompt, query), None)

    def embed_wanted(self, texts: Sequence[str], still_wanted: StillWanted) -> Iterator[EmbeddedBatch]:
        """As ``embed``; before each batch ``still_wanted`` is asked what of it is to be computed.

        Raises:
            ProviderError: the model fails on any text.
        """
        return self._embed(texts, Role(self.space.prompt), still_wanted)

    def _embed(self, texts: Sequence[str], role: Role, still_wanted: StillWanted | None) -> Iterator[EmbeddedBatch]:
        self.load()
        model = self._model
        tokenized, errors = self._tokenize(texts, role)
        if errors:
            yield self._failed(errors)
        readable = [index for index in range(len(texts)) if index not in errors]
        lengths = [len(tokenized[index].ids) for index in readable]
        batches = plan_batches(
            lengths,
            max_tokens=self._share(sum(lengths)),
            max_texts=self._batch_texts,
            width_multiple=model.width_multiple,
        )
        in_flight: deque[_Started] = deque()
        try:
            for positions in batches:
                batch = [readable[position] for position in positions]
                if still_wanted is not None:
                    wanted = set(still_wanted(batch))
                    if unwanted := [index for index in batch if index not in wanted]:
                        yield replace(self._failed({}), unwanted=unwanted)
                    batch = [index for index in batch if index in wanted]
                if batch:
                    in_flight.append(self._start(batch, tokenized, role, alone=len(batches) == 1))
                while len(in_flight) > model.lookahead:
                    yield from self._finish(in_flight.popleft(), tokenized, role)
                self._heap.trim()
            while in_flight:
                yield from self._finish(in_flight.popleft(), tokenized, role)
        finally:
            # Whatever ends this: no stream goes on with what nothing waits for.
            for _, outcome in in_flight:
                if not isinstance(outcome, Exception):
                    outcome.give_up()

    def _share(self, tokens: int) -> int:
        """Padded tokens of each batch, of so many in all."""
        streams, most = self._model.streams, self._batch_tokens
        return even_share(tokens, at_least=_LEAST_SHARE, at_most=most, workers=streams) if streams > 1 else most

    @property
    def _model(self) -> LoadedModel:
        if self._loaded is None:
            raise ProviderError("the model is not loaded")
        return self._loaded

    def _tokenize(self, texts: Sequence[str], role: Role) -> tuple[dict[int, TokenizedText], dict[int, str]]:
        """The tokens of each text, and the error codes of those that have none, e.g. for a lone surrogate."""
        if role == Role(self.space.prompt):
            for prepared in list(self._prepared):
                if all(text in prepared for text in texts):
                    return {index: prepared[text] for index, text in enumerate(texts)}, {}
        try:
            return dict(enumerate(self._model.tokenize(texts, role))), {}
        except Exception as error:  # noqa: BLE001 (the tokenizers raise nothing more specific)
            logger.warning("%d texts could not be tokenized together (%s)", len(texts), type(error).__name__)
        tokenized: dict[int, TokenizedText] = {}
        errors: dict[int, str] = {}
        for index, text in enumerate(texts):
            try:
                [tokenized[index]] = self._model.tokenize([text], role)
            except Exception:  # noqa: BLE001
                errors[index] = "tokenizing_failed"
        if not tokenized:
            self._check_model()
        return tokenized, errors

    def _start(
        self, batch: list[int], tokenized: dict[int, TokenizedText], role: Role, *, alone: bool = True
    ) -> _Started:
        try:
            return batch, self._model.start([tokenized[index] for index in batch], role, alone=alone)
        except Exception as error:  # noqa: BLE001 (a layer of others raises whatever it stumbles over)
            # Its traceback would keep the failed batch's memory alive.
            return batch, error.with_traceback(None)

    def _finish(self, started: _Started, tokenized: dict[int, TokenizedText], role: Role) -> Iterator[EmbeddedBatch]:
        batch, outcome = started
        if not isinstance(outcome, Exception):
            try:
                vectors = self._cut(outcome.numpy())
            except BaseException as error:
                outcome.give_up()  # a stop, perhaps
                if not isinstance(error, Exception):
                    raise
                outcome = error.with_traceback(None)
            else:
                yield EmbeddedBatch(
                    indices=batch,
                    vectors=vectors,
                    token_counts=[len(tokenized[index].ids) for index in batch],
                    truncated=[tokenized[index].truncated for index in batch],
                )
                return
        if len(batch) == 1:
            yield self._isolated(batch[0], outcome)
            return
        logger.warning("a batch of %d texts failed (%s), halving it", len(batch), type(outcome).__name__)
        for half in halve(batch):
            yield from self._finish(self._start(half, tokenized, role), tokenized, role)

    def _cut(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """The space's share of vectors, of unit length again if the model's are."""
        size = self.space.dimensions
        if vectors.shape[1] <= size:
            return vectors
        beginnings = vectors[:, :size]
        if not self.space.normalized:
            return np.ascontiguousarray(beginnings)
        lengths = np.linalg.norm(beginnings, axis=1, keepdims=True)
        return (beginnings / np.where(lengths > 0, lengths, 1)).astype(np.float32)

    def _isolated(self, index: int, error: Exception) -> EmbeddedBatch:
        """The text is at fault if the model still works on another one; otherwise the model is."""
        code = "out_of_memory" if is_out_of_memory(error) else "encoding_failed"
        self._check_model()
        return self._failed({index: code})

    def _check_model(self) -> None:
        try:
            self._model.encode(self._model.tokenize([_PROBE]))
        except Exception as broken:
            raise self._broken(self.device, broken) from broken

    def _broken(self, device: str, error: Exception) -> ProviderError:
        return ProviderError(
            f"model {self.space.model} fails on any text on {device} ({type(error).__name__}); "
            "check the device's memory and drivers, or set EMBEDDING_DEVICE=cpu"
        )

    def _failed(self, errors: dict[int, str]) -> EmbeddedBatch:
        empty = np.empty((0, self.space.dimensions), dtype=np.float32)
        return EmbeddedBatch(indices=[], vectors=empty, token_counts=[], truncated=[], errors=errors)
