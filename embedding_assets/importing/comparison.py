"""A sample embedded again and compared: below a cosine of 0.999 the vectors are not the named model's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from embedding_assets.errors import ImportRefusedError
from embedding_assets.formatting import counted, dollars
from embedding_assets.health.audit import likeness
from embedding_assets.importing.guessing import ALIKE, Fresh, guess, guess_dimensions
from embedding_assets.planning import estimate_api_tokens
from embedding_assets.providers.base import embed_checked
from embedding_assets.providers.openai.prices import price_of

if TYPE_CHECKING:
    from embedding_assets.importing.survey import Sampled, Survey
    from embedding_assets.importing.target import Target

_FEW: Final = 8
"""One in so many may differ before the difference is that of all."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A sample that was embedded again.

    Attributes:
        compared: vectors that were.
        lowest: likeness of the least like: the cosine, times the shorter length as a share of the longer.
        differing: those that are not what the model makes of their text.
    """

    compared: int = 0
    lowest: float | None = None
    differing: tuple[Sampled, ...] = ()


def compare(
    target: Target, sample: Sequence[Sampled], *, of: int, drop: bool, notice: Callable[[str], None] = lambda _: None
) -> Comparison:
    """Embed the sample again.

    Args:
        target: says with what.
        sample: texts and vectors.
        of: how many vectors it stands for.
        drop: whether those that differ may be left out.
        notice: called before texts go to an API with how many, and what they cost.

    Raises:
        ImportRefusedError: the vectors are not the model's; or single ones are not, and ``drop`` is off.
        ProviderError: nothing can be embedded now, or a limit in dollars leaves no room.
    """
    if not sample:
        return Comparison()
    if target.by_api:
        notice(_cost(target, sample))
    fresh = _embed(target, sample)
    if not fresh:
        raise ImportRefusedError(f"none of {counted(len(sample), 'text')} could be embedded with {target.space.model}")
    likenesses = {place: likeness(sample[place].vector, one.vector, "dot") for place, one in fresh.items()}
    differing = [place for place, value in likenesses.items() if value < ALIKE]
    comparison = Comparison(len(fresh), min(likenesses.values()), tuple(sample[place] for place in sorted(differing)))
    if differing:
        _refuse(target, sample, fresh, comparison, of=of, drop=drop)
    return comparison


def refuse_whole(target: Target, survey: Survey, sample: Sequence[Sampled]) -> None:
    """Refuse what by its lengths alone is not the model's, without a text sent anywhere for it.

    Args:
        target: says which model.
        survey: of all vectors.
        sample: where none can be taken over, of those that have the model's dimensions.

    Raises:
        ImportRefusedError: more vectors have another length than could be the model's.
    """
    fit = survey.usable + survey.present
    found = "{:,} of " + f"{survey.read:,} vectors are not of space {target.space.name}: "
    if (count := survey.refused["wrong_dimensions"]) > fit:
        other = min(survey.dimensions - {target.space.dimensions})
        raise ImportRefusedError(found.format(count) + guess_dimensions(target, other))
    if (count := survey.refused["not_unit_length"]) > fit:
        if not target.by_api and not survey.usable:
            compare(target, sample, of=len(sample), drop=False)
        raise ImportRefusedError(
            f"{found.format(count)}{target.space.model} makes unit vectors, and these are scaled, not normalized, or "
            "of another model"
        )


def _refuse(
    target: Target, sample: Sequence[Sampled], fresh: dict[int, Fresh], comparison: Comparison, *, of: int, drop: bool
) -> None:
    few = len(comparison.differing) * _FEW <= comparison.compared
    every = comparison.compared == of and len(comparison.differing) < comparison.compared
    keys = ", ".join(one.key for one in comparison.differing[:20])
    found = (
        f"{len(comparison.differing)} of {comparison.compared} vectors are not what {target.space.model} makes of "
        f"their texts (cosine down to {comparison.lowest or 0:.3f}, at least {ALIKE} is needed)"
    )
    if drop and (few or every):
        return
    if few:
        rest = "" if comparison.compared == of else f"; among the {of - comparison.compared:,} others may be more"
        raise ImportRefusedError(
            f"{found}: {keys}. Single ones are as a rule of texts that were edited since{rest}. With --drop-differing "
            "these are left to be embedded again, and the rest is taken over"
        )
    way = f". With --drop-differing these are left to be embedded again: {keys}" if every else ""
    raise ImportRefusedError(f"{found}. {guess(target, sample, fresh)}{way}")


def _cost(target: Target, sample: Sequence[Sampled]) -> str:
    tokens = sum(estimate_api_tokens(target.space.prompt + one.text) for one in sample)
    price = price_of(target.settings.openai, target.settings.budget)
    cost = "an unknown price" if price is None else f"about {dollars(price * tokens / 1_000_000)}"
    return (
        f"{counted(len(sample), 'text')} of the sample are sent to {target.space.model}: "
        f"about {counted(tokens, 'token')}, {cost}. No other text is."
    )


def _embed(target: Target, sample: Sequence[Sampled]) -> dict[int, Fresh]:
    target.provider.load()
    fresh: dict[int, Fresh] = {}
    for batch in embed_checked(target.provider, [one.text for one in sample]):
        for row, place in enumerate(batch.indices):
            vector: NDArray[np.float32] = batch.vectors[row]
            fresh[place] = Fresh(vector, batch.token_counts[row])
    return fresh
