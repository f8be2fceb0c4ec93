"""The body of an embeddings answer, read with distrust: every text gets its own vector, or none does."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedding_assets.spaces import UNIT_LENGTH_TOLERANCE


@dataclass(frozen=True, slots=True)
class Answer:
    """Vectors of a request.

    Attributes:
        vectors: unit vectors, shape (texts, dimensions), in the order of the request.
        odd: rows that are no vectors, all zero here, and what is wrong with them; never all of them.
        tokens: as the server reports them; None: it does not.
        unit: whether the vectors were of unit length as they came.
    """

    vectors: NDArray[np.float32]
    tokens: int | None
    unit: bool
    odd: Mapping[int, str] = field(default_factory=dict)


class MalformedAnswerError(Exception):
    """An answer that does not hold what was asked for.

    Attributes:
        code: what is wrong, in short snake case.
        tokens: as the server reports them; None: it does not, or the answer cannot be read.
        dimensions: length of its vectors, if that is what is wrong.
    """

    def __init__(self, code: str, *, dimensions: int | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.tokens: int | None = None
        self.dimensions = dimensions


def parse_answer(body: bytes, *, count: int, dimensions: int) -> Answer:
    """Read the vectors of ``count`` texts, sent as base64 of little-endian float32 or as lists of numbers.

    They are put into the order of their indexes and brought to unit length.

    Raises:
        MalformedAnswerError: with code ``not_json``, ``malformed_answer``, ``wrong_vector_count``, ``wrong_indexes``,
            ``wrong_dimensions``, or where that holds for all vectors ``not_finite`` or ``zero_vector``.
    """
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise MalformedAnswerError("not_json") from None
    tokens = _read_tokens(content)
    try:
        vectors, unit, odd = _read_vectors(content, count, dimensions)
    except MalformedAnswerError as malformed:
        malformed.tokens = tokens
        raise
    return Answer(vectors, tokens, unit, odd)


def _read_tokens(content: Any) -> int | None:
    usage = content.get("usage") if isinstance(content, dict) else None
    if isinstance(usage, dict):
        for name in ("prompt_tokens", "total_tokens"):
            tokens = usage.get(name)
            # Servers that do not count say 0.
            if type(tokens) is int and tokens > 0:
                return tokens
    return None


def _read_vectors(content: Any, count: int, dimensions: int) -> tuple[NDArray[np.float32], bool, dict[int, str]]:
    data = content.get("data") if isinstance(content, dict) else None
    if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
        raise MalformedAnswerError("malformed_answer")
    if len(data) != count:
        raise MalformedAnswerError("wrong_vector_count")
    rows = [_read_vector(item) for item in _in_order(data)]
    lengths = {len(row) for row in rows}
    if lengths != {dimensions}:
        raise MalformedAnswerError("wrong_dimensions", dimensions=lengths.pop() if len(lengths) == 1 else None)
    vectors = np.stack(rows)
    with np.errstate(over="ignore"):
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    odd = {int(row): "not_finite" for row in np.flatnonzero(~np.isfinite(norms))}
    odd |= {int(row): "zero_vector" for row in np.flatnonzero(norms == 0)}
    if len(odd) == count:
        raise MalformedAnswerError(odd[0])
    vectors[list(odd)], norms[list(odd)] = 0, 1
    unit = bool((np.abs(np.delete(norms, list(odd)) - 1) <= UNIT_LENGTH_TOLERANCE).all())
    return (vectors / norms).astype(np.float32), unit, odd


def _in_order(data: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The items in the order of the request.

    Some servers number none of them, and some leave out the number that is 0: one that is missing alone is the number
    that no other has. Anything else is a guess.
    """
    numbered = {item["index"]: item for item in data if type(item.get("index")) is int}
    missing = [item for item in data if item.get("index") is None]
    if len(missing) == len(data):
        return data
    if len(missing) == 1 and len(numbered) == len(data) - 1:
        numbered |= dict.fromkeys(set(range(len(data))) - numbered.keys(), missing[0])
    if numbered.keys() != set(range(len(data))):
        raise MalformedAnswerError("wrong_indexes")
    return [numbered[index] for index in range(len(data))]


def _read_vector(item: Mapping[str, Any]) -> NDArray[np.float64]:
    embedding = item.get("embedding")
    try:
        if isinstance(embedding, str):
            # float64 from here on: the squares of large float32 components overflow.
            return np.frombuffer(base64.b64decode(embedding, validate=True), dtype="<f4").astype(np.float64)
        if isinstance(embedding, list) and not any(isinstance(number, str) for number in embedding):
            vector = np.asarray(embedding, dtype=np.float64)
            if vector.ndim == 1:
                return vector
    except (ValueError, TypeError, OverflowError):
        pass
    raise MalformedAnswerError("malformed_answer")
