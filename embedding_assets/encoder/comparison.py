"""A model is compared with its library, whole, when it is first used: what is fast here must be right as well.

Awkward texts go through all that this package does with a text (tokens, prompt, layers, padding) and through the
library's ``encode_document`` and ``encode_query`` in float32 (encoder/reference.py). The fastest way of computing whose
vectors agree is taken and remembered for this revision, these versions and this processor, so that later starts need
no comparison.
"""

from __future__ import annotations

import logging
import time
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embedding_assets.encoder.comparison_record import Comparison, Record
from embedding_assets.encoder.device import default_batch_tokens, is_out_of_memory
from embedding_assets.encoder.files import ModelFiles
from embedding_assets.encoder.loading import check_code_of
from embedding_assets.encoder.model import LoadedModel
from embedding_assets.encoder.precision import Precision, Requested, resolve_precision
from embedding_assets.encoder.reference import Reference, references
from embedding_assets.encoder.threads import use_available_threads
from embedding_assets.encoder.tokens import Role, TokenizedText
from embedding_assets.encoder.ways import Way, ways
from embedding_assets.errors import ConfigurationError, ModelUnavailableError
from embedding_assets.planning import halve, plan_batches

logger = logging.getLogger(__name__)

LEAST_AGREEMENT: Final = {"float32": 0.9999, "bfloat16": 0.999, "int8": 0.98}
"""Below it a way of computing is not taken; by the precision of its transformer."""


def load_compared(
    files: ModelFiles, device: str, max_tokens: int, precision: Requested, threads: int | None = None
) -> LoadedModel:
    """The model, computed in the fastest way that agrees with its library.

    Raises:
        ModelUnavailableError: the files cannot be loaded, or no way agrees.
        ConfigurationError: the device cannot compute in this precision, or the model not in int8.
    """
    if device == "cpu":
        use_available_threads(threads)  # the probe of precision uses them, too
    wanted = resolve_precision(precision, device)
    record = Record.of(files, device, max_tokens, wanted)
    model, comparison = None, record.read()
    if comparison is None:
        # One process compares, and the others wait for what comes of it.
        with record.lock():
            comparison = record.read()
            if comparison is None:
                model, comparison = compare(files, device, max_tokens, wanted, threads)
                record.write(comparison)
    model = model or LoadedModel(files, device, max_tokens, Way(comparison.code, comparison.precision), threads=threads)
    if precision == "bfloat16" and model.precision != precision:
        logger.warning(
            "EMBEDDING_PRECISION=bfloat16 is not honoured: %s computes in float32 here, since in less it does not give "
            "its library's vectors",
            files.name,
        )
    return model


def compare(
    files: ModelFiles, device: str, max_tokens: int, precision: Precision, threads: int | None = None
) -> tuple[LoadedModel, Comparison]:
    """Load the model in the fastest way that agrees with its library, which is computed first and let go.

    Raises:
        ModelUnavailableError: the files cannot be loaded, or no way agrees.
        ConfigurationError: the model cannot be computed in int8, which was asked for.
    """
    started = time.monotonic()
    logger.info("comparing %s with its library, once for this revision", files.name)
    check_code_of(files)
    candidates = [*ways(files, device, precision)]
    if not candidates:
        raise ConfigurationError(
            f"EMBEDDING_PRECISION=int8 is for MPNet and BERT-like models with the usual layers, and {files.name} is "
            "another kind; unset EMBEDDING_PRECISION"
        )
    expected = references(files, device, max_tokens)
    refused: dict[str, float | None] = {}
    for way in candidates:
        name, failure = " ".join(way), None
        try:
            model = LoadedModel(files, device, max_tokens, way, threads=threads)
            documents, queries = (_agreement(reference, model) for reference in expected)
        except Exception as error:
            if is_out_of_memory(error):
                raise  # it may pass, and is no reason to compute more slowly from now on
            # Its traceback would keep the model in memory beside the next.
            failure = error.with_traceback(None)
            refused[name] = None
            logger.warning("%s could not be computed in %s (%s)", files.name, name, type(error).__name__)
            continue
        agreement = min(documents, queries)
        if agreement >= LEAST_AGREEMENT[way.precision]:
            logger.info("%s agrees with its library to %.6f in %s", files.name, agreement, name)
            seconds = time.monotonic() - started
            return model, Comparison(way.code, way.precision, documents, queries, refused, seconds)
        del model  # before the next is loaded
        refused[name] = agreement
        logger.warning(
            "%s in %s differs from its library's result (%.5f) and is not taken", files.name, name, agreement
        )
    if isinstance(failure, ModelUnavailableError):
        raise failure
    if failure is not None:
        raise ModelUnavailableError(
            f"model {files.name} cannot be computed on {device} ({type(failure).__name__}: {failure}); check the "
            "device's memory and drivers or set EMBEDDING_DEVICE=cpu, or choose another EMBEDDING_MODEL_NAME"
        )
    if precision == "int8":
        raise ConfigurationError(
            f"EMBEDDING_PRECISION=int8: {files.name} loses too much in int8 (agreement with its library in float32 "
            f"{agreement:.4f}, at least {LEAST_AGREEMENT['int8']} is needed); unset EMBEDDING_PRECISION"
        )
    raise ModelUnavailableError(
        f"the vectors of model {files.name} cannot be reproduced (agreement with its library: {refused}): in a batch "
        "they differ from those alone, or its files ask for something that is not done here; choose another "
        "EMBEDDING_MODEL_NAME, or serve it and set EMBEDDING_OPENAI_BASE_URL to that server"
    )


def _agreement(reference: Reference, model: LoadedModel) -> float:
    """The least of all texts: the cosine where lengths are equal, less where they differ; NaN is no agreement."""
    tokens = model.tokenize(reference.texts, reference.role)
    lengths = [len(text.ids) for text in tokens]
    least = 1.0
    for batch in plan_batches(
        lengths,
        max_tokens=default_batch_tokens(model.device, model.precision),
        max_texts=len(lengths),
        width_multiple=model.width_multiple,
    ):
        vectors = _encode(model, tokens, batch, reference.role)
        expected = reference.vectors[batch]
        squares = (vectors**2).sum(axis=1) + (expected**2).sum(axis=1)
        # Two texts without any token agree in having no direction.
        agreements = np.where(
            squares == 0, 1, 2 * (vectors * expected).sum(axis=1) / np.where(squares == 0, 1, squares)
        )
        least = min(least, float(agreements.min())) if np.isfinite(agreements).all() else -1.0
    return least


def _encode(model: LoadedModel, tokens: list[TokenizedText], batch: list[int], role: Role) -> NDArray[np.float32]:
    """Vectors of a batch, halved where it does not fit into the device's memory."""
    try:
        return model.encode([tokens[index] for index in batch], role)
    except Exception as error:
        if len(batch) == 1 or not is_out_of_memory(error):
            raise
    return np.concatenate([_encode(model, tokens, half, role) for half in halve(batch)])
