"""A chunk that another tool has made and embedded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ForeignChunk:
    """A chunk that another tool has made and embedded; those of a document follow one another, in its order.

    Attributes:
        key: what its tool calls it.
        origin: of the document that it is a part of.
        source: shown to a reader.
        title: of the document; may be empty.
        metadata: further fields.
        header: what stands above the text; text and header together are what was embedded.
        text: may be blank.
        place: position in the document, from 0.
        total: chunks of the document.
        vector: None where there is none.
        digest: of the document as its source now is, by which a later sync knows it; None: there is no such source.
        is_loaded: whether the table has the document in that state already, maybe in other chunks.
    """

    key: str
    origin: str
    source: str
    title: str
    metadata: dict[str, Any] = field(repr=False)
    header: str = field(repr=False)
    text: str = field(repr=False)
    place: int
    total: int
    vector: NDArray[np.float32] | None = field(repr=False)
    digest: str | None = None
    is_loaded: bool = False
