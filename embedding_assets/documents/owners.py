"""Owners of a source of rows: the assets of Dagster that define it, of which only these may define it otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_IN: Final = " in "
"""Between an asset, in whose name is no space, and its code location."""


def owner_of(asset: str, location: str | None) -> str:
    """An asset as an owner.

    Args:
        asset: its key.
        location: label of its code location; None in a run that knows of none, as one by ``dg launch``.
    """
    return asset if location is None else f"{asset}{_IN}{location}"


def owns(owner: str, owners: Sequence[str]) -> bool:
    """Whether an asset is among the owners; where a run knew no code location, its key says so alone."""
    asset, _, location = owner.partition(_IN)
    for other in owners:
        its_asset, _, its_location = other.partition(_IN)
        if asset == its_asset and (location == its_location or not (location and its_location)):
            return True
    return False


def with_owner(owner: str | None, owners: tuple[str, ...]) -> tuple[str, ...]:
    """The owners with this one among them, in order; as they are if it is None, or is there already.

    What is known of an asset by a run without a code location gives way to the asset with one: it would go on matching
    those of any other.
    """
    if owner is None:
        return owners
    asset, _, location = owner.partition(_IN)
    if not location:
        return owners if owns(owner, owners) else tuple(sorted({*owners, owner}))
    return tuple(sorted({*owners, owner} - {asset}))
