"""Pairs of chunks that are nearly the same, gathered in groups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from embedding_assets.postgres.duplicates.place import MOST_PLACES

if TYPE_CHECKING:
    from embedding_assets.postgres.duplicates.place import Key, Place


@dataclass(frozen=True, slots=True)
class Pair:
    """Two rows, the one whose key is the lesser first, and their cosine."""

    one: Key
    other: Key
    similarity: float


@dataclass(frozen=True, slots=True)
class NearPair:
    """Hashes of two chunks, and their cosine."""

    one: str
    other: str
    similarity: float


@dataclass(frozen=True, slots=True)
class NearGroup:
    """Chunks of which each is nearly the same as another one of them.

    Attributes:
        chunks: how many.
        highest: cosine of the nearest two.
        lowest: cosine of the pair that is the least near, among those found.
        places: of at most ten, those of the nearest pairs first.
        pairs: found between these places, the nearest first.
    """

    chunks: int
    highest: float
    lowest: float
    places: tuple[Place, ...]
    pairs: tuple[NearPair, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Pairs that hang together.

    Attributes:
        chunks: how many there are in them.
        pairs: the nearest first.
    """

    chunks: int
    pairs: tuple[Pair, ...]

    @property
    def keys(self) -> list[Key]:
        """Of the chunks that are shown."""
        return list(dict.fromkeys(key for pair in self.pairs for key in (pair.one, pair.other)))[:MOST_PLACES]

    def placed(self, places: Mapping[Key, Place]) -> NearGroup:
        """The group as it is shown; rows that are gone by now have no place."""
        shown = {key: places[key] for key in self.keys if key in places}
        return NearGroup(
            self.chunks,
            self.pairs[0].similarity,
            self.pairs[-1].similarity,
            tuple(shown.values()),
            tuple(
                NearPair(shown[pair.one].chunk_hash, shown[pair.other].chunk_hash, pair.similarity)
                for pair in self.pairs
                if pair.one in shown and pair.other in shown
            ),
        )


def group(pairs: Iterable[Pair]) -> list[Group]:
    """Groups of pairs that share chunks, the largest first, of equal ones that with the nearest pair."""
    parents: dict[Key, Key] = {}

    def root(key: Key) -> Key:
        while (parent := parents.setdefault(key, key)) != key:
            parents[key] = key = parents[parent]
        return key

    ordered = sorted(pairs, key=lambda pair: (-pair.similarity, pair.one, pair.other))
    for pair in ordered:
        parents[root(pair.one)] = root(pair.other)
    gathered: dict[Key, list[Pair]] = {}
    for pair in ordered:
        gathered.setdefault(root(pair.one), []).append(pair)
    groups = [
        Group(len({key for pair in members for key in (pair.one, pair.other)}), tuple(members))
        for members in gathered.values()
    ]
    return sorted(groups, key=lambda one: (-one.chunks, -one.pairs[0].similarity, one.pairs[0].one))
