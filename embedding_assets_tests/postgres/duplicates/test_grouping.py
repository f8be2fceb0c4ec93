"""Pairs that share a chunk are one group, in an order that does not depend on theirs."""

import itertools

from embedding_assets.postgres.duplicates.grouping import NearPair, Pair, group
from embedding_assets.postgres.duplicates.place import MOST_PLACES, Place


def pair(one: str, other: str, similarity: float) -> Pair:
    return Pair((one,), (other,), similarity)


PAIRS = [pair("a", "b", 0.98), pair("c", "d", 0.99), pair("b", "e", 0.97), pair("f", "g", 0.995)]


def test_the_largest_first_then_the_nearest():
    for order in itertools.permutations(PAIRS):
        groups = group(order)
        assert [one.chunks for one in groups] == [3, 2, 2]
        assert [one.pairs for one in groups] == [(PAIRS[0], PAIRS[2]), (PAIRS[3],), (PAIRS[1],)]
    assert group([]) == []


def test_what_is_shown_of_a_large_group_is_its_nearest_pairs():
    [found] = group(pair("hub", f"{number:02}", 0.99 - number / 1000) for number in range(20))
    assert (found.chunks, len(found.keys)) == (21, MOST_PLACES)
    shown = found.placed({key: Place(f"hash of {key[0]}", {}, "s", "", "") for key in found.keys})
    assert (shown.chunks, shown.highest, shown.lowest) == (21, 0.99, 0.99 - 19 / 1000)
    assert len(shown.pairs) == MOST_PLACES - 1
    assert shown.pairs[0] == NearPair("hash of hub", "hash of 00", 0.99)


def test_a_row_that_is_gone_has_no_place():
    [found] = group(PAIRS[:1])
    shown = found.placed({("a",): Place("hash", {}, "s", "", "")})
    assert (len(shown.places), shown.pairs) == (1, ())
