"""Values that are kept for a while."""

from embedding_assets.retrieval.recent import Recent


def test_values_are_read_once_and_again_when_they_are_old():
    reads: list[str] = []

    def read() -> int:
        reads.append("read")
        return len(reads)

    recent = Recent(1000)
    assert recent.peek("a") is None
    assert [recent.get("a", read), recent.get("a", read), recent.get("b", read)] == [1, 1, 2]
    assert recent.peek("a") == 1
    recent.forget()
    assert recent.get("a", read) == 3

    recent = Recent(0)
    assert recent.get("a", read) < recent.get("a", read)


def test_what_is_nothing_is_kept_too():
    reads: list[None] = []
    recent = Recent(1000)
    assert recent.get("a", lambda: reads.append(None)) is None
    recent.get("a", lambda: reads.append(None))
    assert len(reads) == 1
