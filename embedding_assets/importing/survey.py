"""A first reading of what another tool has made: what of it can be taken over, and a sample of that."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from embedding_assets.spaces import VectorSpace

LOCAL_SAMPLE: Final = 64
"""Texts that a local model embeds again: a hundredth that is wrong shows with 47%, a tenth with 99.9%."""

API_SAMPLE: Final = 16
"""Texts that an API is sent, which bills for them: a tenth that is wrong shows with 81%."""

MOST_EXAMPLES: Final = 5
"""Keys that are listed for each reason."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """A text and the vector that another tool has made of it, or of something else.

    Attributes:
        key: of the row, for a person.
        row_key: of the table's row; empty where there is none yet.
        text: what our model is to read.
        vector: theirs.
        others: what else they may have embedded: name → text.
    """

    key: str
    row_key: tuple[str, ...]
    text: str = field(repr=False)
    vector: NDArray[np.float32] = field(repr=False)
    others: dict[str, str] = field(default_factory=dict, repr=False)


@dataclass(slots=True)
class Survey:
    """What was found by reading all of it once.

    Attributes:
        read: vectors, or rows that should have one.
        present: of these, ones whose row has a vector in the space already.
        usable: of the others, ones that can be taken over.
        refused: reason → how many cannot be.
        examples: reason → the first keys.
        dimensions: of the vectors that cannot be.
    """

    read: int = 0
    present: int = 0
    usable: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    dimensions: set[int] = field(default_factory=set)

    def refuse(self, reason: str, key: str) -> None:
        """Count what cannot be taken over."""
        self.refused[reason] += 1
        examples = self.examples.setdefault(reason, [])
        if len(examples) < MOST_EXAMPLES:
            examples.append(key)


class Reservoir:
    """So many of a stream, each with the same probability; the same ones of the same stream."""

    def __init__(self, size: int) -> None:
        self.items: list[Sampled] = []
        self._size = size
        self._seen = 0
        self._random = random.Random(0)  # noqa: S311 (chooses a sample)

    def offer(self, item: Sampled) -> None:
        """Maybe keep it."""
        self._seen += 1
        if len(self.items) < self._size:
            self.items.append(item)
        elif (place := self._random.randrange(self._seen)) < self._size:
            self.items[place] = item


def judge_vectors(space: VectorSpace, vectors: Sequence[NDArray[np.float32] | None]) -> dict[int, str]:
    """Positions of the vectors that must not be stored in a space → why, as in ``VectorSpace.find_invalid``."""
    unfit = {place: "no_vector" for place, vector in enumerate(vectors) if vector is None}
    fit: list[int] = []
    for place, vector in enumerate(vectors):
        if vector is None:
            continue
        if vector.shape != (space.dimensions,):
            unfit[place] = "wrong_dimensions"
        else:
            fit.append(place)
    if fit:
        stacked = np.stack([vectors[place] for place in fit if vectors[place] is not None])  # type: ignore[misc]
        unfit |= {fit[row]: code for row, code in space.find_invalid(stacked).items()}
    return unfit
