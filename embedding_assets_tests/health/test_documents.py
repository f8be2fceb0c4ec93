"""The check of documents."""

from embedding_assets.health.documents import documents_readable


def test_all_is_read():
    verdict = documents_readable(3, {})
    assert (verdict.passed, verdict.severity, verdict.description) == (True, "warning", "3 documents read")


def test_rejections_warn_by_kind():
    verdict = documents_readable(1, {"is empty": 1, "is not valid UTF-8": 1_200})
    assert (verdict.passed, verdict.severity) == (False, "warning")
    assert verdict.description.startswith(
        "1 document read; 1,201 rejected (1,200: is not valid UTF-8, 1: is empty). Look at `rejections`"
    )
    assert verdict.numbers == {"documents": 1, "rejected": 1_201, "missing": 0}


def test_what_is_missing_or_cannot_be_read_at_all_is_an_error():
    missing = documents_readable(5, {}, missing=["/mnt/docs does not exist"])
    assert missing.is_error
    assert "/mnt/docs does not exist" in missing.description
    assert documents_readable(0, {"is empty": 1}).is_error
    assert documents_readable(0, {}).passed, "nothing is there, nothing is wrong"


def test_what_was_kept_is_said():
    many = documents_readable(5, {}, gone=4, prune_refused=True)
    assert (many.passed, many.severity) == (False, "warning")
    assert "4 documents gone, more than a fifth of a collection, so none was removed" in many.description
    assert "a.md lost so much" in documents_readable(5, {}, shrunk=["a.md"]).description
    assert documents_readable(5, {}, gone=1).passed
