"""Whether something has changed in a bucket, by listing it."""

import pytest

from embedding_assets.documents.ignoring import Choice
from embedding_assets.documents.noticing import look_at
from embedding_assets.documents.stores import bucket as bucket_module
from embedding_assets.documents.stores.store import StoreError
from embedding_assets_tests.support.stores import status


def look(*urls):
    found = look_at(urls, Choice(), seconds=60)
    assert found is not None
    return found


def test_a_change_makes_it_look_another_way_and_no_object_is_read(bucket, s3):
    bucket.put(docs__a="one", docs__b="two")
    bucket.put_as("docs/picture.png", b"x")
    url = bucket.url("docs")
    before = look(url)
    assert before == look(url)
    assert before.files == 2
    bucket.put_as("docs/picture.png", b"y")
    assert look(url) == before
    digests = {before.digest}
    bucket.put(docs__a="two")
    digests.add(look(url).digest)
    bucket.remove("docs/b.md")
    digests.add(look(url).digest)
    bucket.put(docs__c="new")
    digests.add(look(url).digest)
    assert len(digests) == 4
    assert s3.count("GET", ".md") == 0
    assert look(bucket.url("docs/a.md")).files == 1


def test_what_is_not_there_is_named_and_what_is_away_is_no_change(bucket, s3, monkeypatch):
    bucket.put(docs__a="one")
    found = look(bucket.url("docs"), bucket.url("dogs"))
    assert (found.files, found.missing) == (
        1,
        (f"{bucket.url('dogs')} cannot be read: there is no such file or folder",),
    )
    monkeypatch.setattr(bucket_module, "_RETRY_SECONDS", 0)
    s3.faults[f"/{bucket.name}"] = [status(503)]
    with pytest.raises(StoreError, match="goes on failing"):
        look(bucket.url("docs"))


def test_it_ends_in_time(bucket):
    bucket.put(docs__a="one")
    assert look_at([bucket.url("docs")], Choice(), seconds=-1) is None
