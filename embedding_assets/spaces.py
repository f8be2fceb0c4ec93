"""Vector spaces: what must agree for two vectors to be comparable, and the column in which they lie."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

UNIT_LENGTH_TOLERANCE: Final = 1e-3

Similarity = Literal["cosine", "dot", "euclidean", "manhattan"]
"""What vectors are compared by; the names are those of sentence-transformers."""

Storage = Literal["vector", "halfvec"]
"""pgvector's type of a column: numbers of 4 bytes each, or of 2."""

IndexType = Literal["vector", "halfvec", "bit"]
"""pgvector's type of what a vector index holds: numbers of 4 bytes each, of 2, or their signs."""

INT8: Final = "+int8"
"""Behind the revision of a local model that computes documents in int8."""

MOST_DIMENSIONS: Final[Mapping[IndexType, int]] = {"vector": 2000, "halfvec": 4000, "bit": 16_000}
"""That an index can have; beyond, every search would read every vector. Bits: 64,000, but a column 16,000."""

_BYTES: Final = {"vector": 4, "halfvec": 2}


def most_dimensions(index_type: IndexType | None) -> int:
    """Dimensions that a space can have where indexes are of this type; None: of whichever keeps the numbers."""
    return MOST_DIMENSIONS[index_type or "halfvec"]


@dataclass(frozen=True, slots=True)
class VectorSpace:
    """One provider, model, revision, dimensions, normalization, prompt and input length.

    Compute precision and batch size are no part of it: they change a vector by rounding only. What is computed in int8
    differs by more, so the revision says so.

    Attributes:
        provider: who computes the vectors, e.g. ``local``.
        model: the model's name.
        revision: the exact version of its weights: a repository commit or a content hash; ends with ``+int8`` where
            they are rounded to that.
        dimensions: length of a vector.
        normalized: whether the model returns unit vectors.
        prompt: text put before every document.
        max_tokens: tokens of a text that are read; the rest is cut off.
    """

    provider: str
    model: str
    revision: str
    dimensions: int
    normalized: bool
    prompt: str
    max_tokens: int

    @property
    def name(self) -> str:
        """A readable name, unique to this identity, e.g. ``local-all-mpnet-base-v2-768-1a2b3c4d``."""
        kind = "-int8" if self.is_int8 else ""
        return f"{self.provider}-{self._short_model}{kind}-{self.dimensions}-{self._digest}"

    @property
    def is_int8(self) -> bool:
        """Whether a local model computed the documents in int8."""
        return self.provider == "local" and self.revision.endswith(INT8)

    @property
    def weights(self) -> str:
        """The version of the model's files alone."""
        return self.revision.removesuffix(INT8) if self.is_int8 else self.revision

    @property
    def slug(self) -> str:
        """``name`` as part of an SQL identifier: at most 31 of lowercase letters, digits and _.

        ``idx_knowledge_embedding_<slug>_pending`` then has the 63 characters that PostgreSQL keeps.
        """
        return f"{re.sub(r'[^a-z0-9]+', '_', self._short_model.lower())[:22].strip('_')}_{self._digest}"

    @property
    def storage(self) -> Storage:
        """How its vectors are stored in a new column: as ``halfvec`` where an index of ``vector`` is not possible."""
        return "vector" if self.dimensions <= MOST_DIMENSIONS["vector"] else "halfvec"

    @property
    def _short_model(self) -> str:
        return self.model.rstrip("/").rpartition("/")[2]

    @property
    def _digest(self) -> str:
        identity = "\x1f".join(f"{key}={value!r}" for key, value in sorted(asdict(self).items()))
        return hashlib.sha256(identity.encode()).hexdigest()[:8]

    def differences(self, other: VectorSpace) -> list[str]:
        """The names of the attributes in which two spaces differ."""
        mine, theirs = asdict(self), asdict(other)
        return [key for key in mine if mine[key] != theirs[key]]

    def find_invalid(self, vectors: NDArray[np.float32]) -> dict[int, str]:
        """Find the rows of ``vectors``, shape (n, any), that must not be stored in this space, and why.

        Returns:
            Row index → ``wrong_dimensions``, ``not_finite``, ``too_large``, ``zero_vector`` or ``not_unit_length``.
        """
        if vectors.ndim != 2 or vectors.shape[1] != self.dimensions:
            return dict.fromkeys(range(len(vectors)), "wrong_dimensions")
        with np.errstate(over="ignore", under="ignore"):
            vectors = vectors.astype(np.float32, copy=False)
            # As it will be stored: a half-precision number is at most 65,504.
            stored = vectors.astype(np.float16) if self.storage == "halfvec" else vectors
        # float64: the squares of large float32 components overflow, and would pass for infinite ones.
        norms = np.linalg.norm(stored.astype(np.float64), axis=1)
        invalid: dict[int, str] = {}
        for row in np.flatnonzero(~np.isfinite(vectors).all(axis=1)):
            invalid[int(row)] = "not_finite"
        for row in np.flatnonzero(~np.isfinite(stored).all(axis=1)):
            invalid.setdefault(int(row), "too_large")
        for row in np.flatnonzero(norms == 0):
            invalid[int(row)] = "zero_vector"
        if self.normalized:
            for row in np.flatnonzero(np.abs(norms - 1) > UNIT_LENGTH_TOLERANCE):
                invalid.setdefault(int(row), "not_unit_length")
        return invalid


@dataclass(frozen=True, slots=True)
class SpaceColumn:
    """A vector space, and the column and index of ``knowledge_base`` that belong to it alone.

    Attributes:
        space: whose vectors they are.
        name: of the column; empty while there is none: no row has a vector in the space.
        index: name of the column's vector index.
        serving: whether searches are answered from it.
        query_prompt: put before every question, if it was set; None: what the model's files say.
        similarity: what searches rank by.
        storage: type of the column.
    """

    space: VectorSpace
    name: str
    index: str
    serving: bool
    query_prompt: str | None = None
    similarity: Similarity = "cosine"
    storage: Storage = "vector"

    @property
    def vector_bytes(self) -> int:
        """Bytes of the numbers of a stored vector."""
        return _BYTES[self.storage] * self.space.dimensions

    def score(self, distance: float) -> float:
        """The similarity of two vectors, higher is nearer, by pgvector's distance between them.

        The cosine, the inner product, or the negative Euclidean or Manhattan distance.
        """
        return 1 - distance if self.similarity == "cosine" else -distance

    @property
    def scores_cosines(self) -> bool:
        """Whether a score is the cosine of two vectors."""
        return self.similarity == "cosine" or (self.similarity == "dot" and self.space.normalized)

    @property
    def pending_index(self) -> str:
        """Name of the partial index that finds chunks without a vector in this space."""
        return f"{self.index}_pending"


class EmbeddedVector(list[float]):
    """A vector, and the space it belongs to: vectors of different spaces must not be compared."""

    __slots__ = ("space",)

    def __init__(self, numbers: Iterable[float], space: VectorSpace) -> None:
        super().__init__(numbers)
        self.space = space


class EmbeddedVectors(list[list[float]]):
    """Vectors, and the one space that all of them belong to."""

    __slots__ = ("space",)

    def __init__(self, vectors: Iterable[list[float]], space: VectorSpace) -> None:
        super().__init__(vectors)
        self.space = space
