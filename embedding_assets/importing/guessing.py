"""The best guess why vectors differ from those of the named model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from embedding_assets.providers.base import embed_checked
from embedding_assets.providers.prompts import known_prompts
from embedding_assets.providers.space_selection import create_provider

if TYPE_CHECKING:
    from embedding_assets.importing.survey import Sampled
    from embedding_assets.importing.target import Target
    from embedding_assets.providers.base import EmbeddingProvider

ALIKE: Final = 0.999
"""Cosine from which two vectors are of one model and text; its own variation stays above."""
_SHORT: Final = 16
"""Tokens of a text that no model cuts."""

_FEWEST: Final = 6
"""Vectors of which a pattern can be seen."""

_TRIED: Final = 6
"""Vectors that a guess is tried on."""
_NAMES_OF_TEXTS: Final = {"context_header": "the header alone", "chunk_text": "the text without its header"}


@dataclass(frozen=True, slots=True)
class Fresh:
    """A vector that the named model has just made, and the tokens that it read."""

    vector: NDArray[np.float32]
    tokens: int


@dataclass(frozen=True, slots=True)
class _Case:
    """A sample beside what the model has just made of it: vectors of shape (n, dimensions), in one order."""

    sample: list[Sampled]
    tokens: NDArray[np.int64]
    theirs: NDArray[np.float64]
    ours: NDArray[np.float64]
    cosines: NDArray[np.float64]


def guess(target: Target, sample: Sequence[Sampled], fresh: dict[int, Fresh]) -> str:
    """What differs, and what to set; nothing more is sent to an API."""
    places = sorted(fresh)
    theirs = np.stack([sample[place].vector for place in places]).astype(np.float64)
    ours = np.stack([fresh[place].vector for place in places]).astype(np.float64)
    tokens = np.array([fresh[place].tokens for place in places])
    case = _Case([sample[place] for place in places], tokens, theirs, ours, _cosines(theirs, ours))
    for found in _guesses(target, case):
        return found
    return (
        f"They are of another model, or of another version of it; set {_model_setting(target)} to the one that made "
        "them"
    )


def guess_dimensions(target: Target, dimensions: int) -> str:
    """What to set where vectors have another length."""
    space = target.space
    setting = "EMBEDDING_OPENAI_DIMENSIONS" if target.by_api else "EMBEDDING_DIMENSIONS"
    shorter = dimensions < space.dimensions
    how = (
        f" at its full length, or {space.model} was shortened here" if not shorter else f", or {space.model} shortened"
    )
    return (
        f"they have {dimensions:,} dimensions, and {space.model} makes {space.dimensions:,}: they are of another model"
        f"{how}; set {_model_setting(target)} to the model that made them, and {setting}={dimensions}"
    )


def _guesses(target: Target, case: _Case) -> Iterator[str]:
    """Guesses that hold, the surest first."""
    alike = case.cosines >= ALIKE
    if alike.all():
        yield _scale(case.theirs, case.ours)
        return
    if alike.any() and (shortest := case.tokens[~alike].min()) >= case.tokens[alike].max() > _SHORT:
        setting = "EMBEDDING_OPENAI_MAX_INPUT_TOKENS" if target.by_api else "EMBEDDING_MAX_SEQ_LENGTH"
        yield (
            f"Only texts of {shortest:,} tokens and more differ: of a text another number of tokens was read; set "
            f"{setting} to theirs"
        )
    tried = [case.sample[row] for row in np.flatnonzero(~alike)[:_TRIED]]
    if not target.by_api:
        yield from _tried_prompts(target, tried)
        yield from _tried_texts(target, tried)
    if _find_their_own(case.theirs, case.ours):
        yield (
            f"It is this model, by all appearances (cosine {np.median(case.cosines):.2f}, and each is nearest to its "
            "own text), but other texts: with another prompt before each (EMBEDDING_DOCUMENT_PROMPT), with or without "
            "a header, or of another column"
        )


def _scale(theirs: NDArray[np.float64], ours: NDArray[np.float64]) -> str:
    ratios = np.linalg.norm(theirs, axis=1) / np.linalg.norm(ours, axis=1)
    if ratios.max() < 1.001 * ratios.min():
        how = f"each is {ratios[0]:.3g} times as long as the model's"
    elif np.allclose(np.linalg.norm(theirs, axis=1), 1, atol=1e-3):
        how = "they were made unit vectors, which the model's are not"
    else:
        how = f"they are {ratios.min():.3g} to {ratios.max():.3g} times as long: they were not made unit vectors"
    return f"The directions agree, and not the lengths: {how}. Scale them as the model does, and import them then"


def _tried_prompts(target: Target, tried: Sequence[Sampled]) -> Iterator[str]:
    settings = target.settings.with_embedding(document_prompt="")
    bare = create_provider(settings, target.database)
    for prompt in ("", *known_prompts()):
        if prompt != target.space.prompt and _are_of(bare, [prompt + one.text for one in tried], tried):
            what = f"with {prompt!r} before each text" if prompt else "without a prompt before the texts"
            yield f"They were made {what}; set EMBEDDING_DOCUMENT_PROMPT={prompt!r}"


def _tried_texts(target: Target, tried: Sequence[Sampled]) -> Iterator[str]:
    for name in dict.fromkeys(name for one in tried for name in one.others):
        having = [one for one in tried if one.others.get(name, "").strip() and one.others[name] != one.text]
        if having and _are_of(target.provider, [one.others[name] for one in having], having):
            yield (
                f"They are of {_NAMES_OF_TEXTS.get(name, f'column {name}')}, and what is embedded here is another "
                "text; let the table's text be that one, or embed it again"
            )


def _are_of(provider: EmbeddingProvider, texts: Sequence[str], sample: Sequence[Sampled]) -> bool:
    """True if most of the sample's vectors are of these texts."""
    agreeing = 0
    for batch in embed_checked(provider, texts):
        theirs = np.stack([sample[place].vector for place in batch.indices]) if batch.indices else batch.vectors
        agreeing += int((_cosines(theirs, batch.vectors) >= ALIKE).sum())
    return agreeing * 2 > len(texts)


def _cosines(left: NDArray[Any], right: NDArray[Any]) -> NDArray[np.float64]:
    """Row by row; 0 where one is zero."""
    a, b = left.astype(np.float64), right.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    products: NDArray[np.float64] = np.einsum("ij,ij->i", a, b)
    cosines: NDArray[np.float64] = np.divide(products, lengths, out=np.zeros(len(a)), where=lengths > 0)
    return cosines


def _find_their_own(theirs: NDArray[np.float64], ours: NDArray[np.float64]) -> bool:
    """True if nearly every vector is nearest to that of its own text, as two models' are not."""
    if len(theirs) < _FEWEST:
        return False
    products = _unit(theirs) @ _unit(ours).T
    return bool((products.argmax(axis=1) == np.arange(len(theirs))).mean() > 0.8)


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float64] = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return unit


def _model_setting(target: Target) -> str:
    return "EMBEDDING_OPENAI_MODEL" if target.by_api else "EMBEDDING_MODEL_NAME"
