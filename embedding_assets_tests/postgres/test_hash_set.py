"""Hashes in eight bytes each."""

from hypothesis import given
from hypothesis import strategies as st

from embedding_assets.postgres.hash_set import HashSet

HASHES = st.lists(st.text("0123456789abcdef", min_size=64, max_size=64))


@given(HASHES, HASHES, HASHES)
def test_it_is_a_set(one, more, others):
    found = HashSet()
    found.update(one)
    assert len(found) == len(set(one))
    found.update(more)
    assert len(found) == len({*one, *more})
    assert all(chunk_hash in found for chunk_hash in [*one, *more])
    assert [chunk_hash in found for chunk_hash in others] == [chunk_hash in {*one, *more} for chunk_hash in others]


def test_short_hashes_and_none():
    found = HashSet()
    assert "ab" not in found
    assert not found
    found.update(["ab", "ab"])
    assert ("ab" in found, "ac" in found, len(found)) == (True, False, 1)


def test_many_are_kept_as_few_are():
    hashes = [f"{number:016x}" for number in range(0, 20_000, 2)]
    found = HashSet()
    for start in range(0, len(hashes), 1_500):
        found.update(hashes[start : start + 1_500])
        found.update(hashes[: start + 10])
        assert len(found) == min(start + 1_500, len(hashes))
    assert all(chunk_hash in found for chunk_hash in hashes)
    assert not any(f"{number:016x}" in found for number in range(1, 20_003, 2))
