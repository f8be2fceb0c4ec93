"""Buckets as people fill them, by a real S3-compatible server."""

import gzip

import pytest

from embedding_assets.documents.formats.options import ReadOptions
from embedding_assets.documents.ignoring import Choice
from embedding_assets.documents.roots import collections_inside, find_roots
from embedding_assets.documents.stores import listing
from embedding_assets.documents.stores.address import parsed
from embedding_assets.documents.stores.root import StoreRoot
from embedding_assets.documents.stores.store import StoredObject, StoreError
from embedding_assets.errors import DocumentError
from embedding_assets.postgres.documents import Collection
from embedding_assets_tests.support.loading import write
from embedding_assets_tests.support.stores import status


def test_a_folder_of_a_bucket_is_loaded_and_what_is_unchanged_is_not_read_again(load, bucket, s3):
    bucket.put(docs__a="# A\n\none", docs__sub__b="two", docs2__c="elsewhere")
    report = load(bucket.url("docs"))
    assert (report.new, load.origins(), load.rejections) == (2, ["docs/a.md", "docs/sub/b.md"], [])
    assert load.rows() == ["one", "two"]

    s3.asked.clear()
    again = load(bucket.url("docs/"))
    assert (again.unchanged, again.added, again.gone) == (2, 0, 0)
    assert s3.count("GET", ".md") == 0

    bucket.put(docs__a="# A\n\nedited")
    bucket.remove("docs/sub/b.md")
    changed = load(bucket.url("docs"))
    assert (changed.changed, changed.gone, changed.pruned) == (1, 1, 0)
    assert load(bucket.url("docs"), prune=True).pruned == 1
    assert load.rows() == ["edited"]


def test_a_file_with_rejected_rows_is_not_fetched_again_as_it_is(load, bucket, s3):
    bucket.put_as("docs/rows.jsonl", b'{"text": "one"}\nnot json\n')
    assert load(bucket.url("docs")).rejected == 1
    s3.asked.clear()
    again = load(bucket.url("docs"))
    assert (again.unchanged, again.rejected_before, s3.count("GET", ".jsonl")) == (1, 1, 0)
    # Read in another way, or once a person decides, it may be another one.
    assert load(bucket.url("docs"), read=ReadOptions(text_column="text")).rejected == 1
    assert load(bucket.url("docs"), accept_rejected=True).changed == 1
    s3.asked.clear()
    assert load(bucket.url("docs")).unchanged == 1
    bucket.put_as("docs/rows.jsonl", b'{"text": "two"}\nnot json\n')
    assert (load(bucket.url("docs")).kept, sorted(load.rows())) == (1, ["one", "two"])


def test_one_that_was_written_again_with_the_same_rows_is_fetched_once(load, bucket, s3):
    bucket.put_as("docs/rows.jsonl", b'{"text": "one"}\nnot json\n')
    load(bucket.url("docs"))
    load.database.run(lambda c: c.execute("UPDATE loaded_documents SET mark = 'x'"))
    s3.asked.clear()
    assert [load(bucket.url("docs")).unchanged for _ in range(2)] == [1, 1]
    assert s3.count("GET", "rows.jsonl") == 1


def test_a_name_with_an_empty_part_is_no_endless_folder():
    class Listed:
        async def pages(self, folder):
            yield [StoredObject(f"{folder}/{name}", 5, "m") for name in ("a/x.md", "a//b.md")]

    root = StoreRoot(parsed("s3://b/docs"), Collection("docs", "s3://b/docs", True), "docs", Listed(), None)
    with pytest.raises(StoreError, match="between slashes, is empty; load the folders beside it"):
        listing.StoreTree(root).list()


def test_an_object_that_was_written_again_with_the_same_content_is_read_once(load, bucket, s3):
    bucket.put(docs__a="one")
    load(bucket.url("docs"))
    # Objects that were uploaded in parts have another mark.
    load.database.run(lambda c: c.execute("UPDATE loaded_documents SET mark = 'x'"))
    s3.asked.clear()
    assert [load(bucket.url("docs")).unchanged for _ in range(2)] == [1, 1]
    assert s3.count("GET", "a.md") == 1


def test_a_whole_bucket_one_file_of_it_and_a_folder_within_are_one_collection(load, bucket):
    bucket.put(a="one", sub__b="two")
    assert load(bucket.url()).new == 2
    assert load.origins() == [f"{bucket.name}/a.md", f"{bucket.name}/sub/b.md"]
    assert load(bucket.url("sub/b.md")).unchanged == 1
    assert load(bucket.url("sub")).unchanged == 1
    assert load(bucket.url("sub"), collection="apart").new == 1
    assert len(load.origins()) == 3


def test_names_stand_for_themselves(load, bucket):
    names = ["a b.md", "ä.md", "100%.md", "c#d?.md", "x+y.md", "it's.md"]
    for name in names:
        bucket.put_as(f"docs/{name}", name.encode())
    assert load(bucket.url("docs")).new == len(names)
    assert sorted(load.rows()) == sorted(names)
    assert load(bucket.url("docs/100%.md")).unchanged == 1


def test_the_rules_for_folders_hold(load, bucket):
    for name in (
        "docs/a.md", "docs/.hidden.md", "docs/.git/x.md", "docs/node_modules/x/README.md", "docs/build/b.md",
        "docs/pyproject.toml", "docs/picture.png", "docs/requirements.txt", "docs/drafts/c.md", "docs/keep/d.md",
    ):  # fmt: skip
        bucket.put_as(name, b"text")
    bucket.put_as("docs/.gitignore", b"drafts/\n")
    for name in ("docs", "docs/empty", "docs/drafts"):
        bucket.put_folder(name)
    report = load(bucket.url("docs"), choice=Choice(exclude=("keep",)))
    assert load.origins() == ["docs/a.md"]
    assert report.left_out == {
        "hidden": 3, "node_modules": 1, "build": 1, "for machines, as requirements.txt": 1, ".gitignore": 1,
        "--exclude": 1,
    }  # fmt: skip
    # What is left out is not gone.
    load(bucket.url("docs"), choice=Choice(all_files=True))
    before = load.origins()
    assert "docs/drafts/c.md" in before
    assert load(bucket.url("docs"), prune=True, yes=True).gone == 0
    assert load.origins() == before


def test_a_packed_file_is_read_as_one_of_this_machine(load, bucket):
    rows = b'{"text": "one"}\n{"text": "two"}\n'
    bucket.put_as("docs/rows.jsonl.gz", gzip.compress(rows))
    bucket.put_as("docs/cut.jsonl.gz", gzip.compress(rows)[:30])
    report = load(bucket.url("docs"))
    assert (load.rows(), report.documents) == (["one", "two"], 1)
    assert load.rejections == ["docs/cut.jsonl.gz: is a damaged or cut gzip file"]


def test_many_files_are_fetched_a_few_at_a_time_and_none_is_left(load, bucket, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    bucket.put(**{f"docs__n{number:02}": f"text {number}" for number in range(40)})
    write(tmp_path / "here", x="here")
    report = load(bucket.url("docs"), tmp_path / "here")
    assert (report.new, len(load.rows())) == (41, 41)
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def test_a_folder_of_this_machine_with_the_same_name_is_another_one(load, bucket, tmp_path):
    write(tmp_path / "docs", a="here")
    load(tmp_path / "docs")
    bucket.put(docs__b="there")
    with pytest.raises(DocumentError, match=r"the collection docs was loaded from .*/docs\. Give this one a name"):
        load(bucket.url("docs"))
    assert load(bucket.url("docs"), collection="there").new == 1
    # By its place from now on.
    assert load(bucket.url("docs")).unchanged == 1
    assert load(tmp_path / "docs").unchanged == 1


def test_a_folder_that_was_moved_into_a_bucket_keeps_its_documents_where_it_is_said(load, bucket, tmp_path):
    write(tmp_path / "docs", a="same")
    load(tmp_path / "docs")
    bucket.put(docs__a="same")
    report = load(bucket.url("docs"), collection="docs")
    assert (report.unchanged, report.added) == (1, 0)


def test_files_beside_folders_of_the_same_name_are_both_there(load, bucket):
    bucket.put_as("docs/guide.md", b"the guide")
    bucket.put_as("docs/guide.md/part.md", b"a part")
    assert load(bucket.url("docs")).new == 2
    assert load(bucket.url("docs"), prune=True).gone == 0


def test_a_folder_that_was_loaded_by_its_own_name_is_noticed_in_the_bucket(load, bucket, tmp_path):
    bucket.put(sub__a="one")
    load(bucket.url("sub"))
    roots = find_roots(load.database, [bucket.url()], None)
    assert collections_inside(load.database, roots) == ["sub"]
    assert collections_inside(load.database, find_roots(load.database, [str(tmp_path)], None)) == []


def test_an_empty_bucket_is_an_empty_folder(load, bucket):
    load(bucket.url())
    assert load.rejections == [f"{bucket.name}: holds no file to read"]


def test_a_folder_with_too_many_objects_is_refused(load, bucket, monkeypatch):
    bucket.put(docs__a="one", docs__b="two")
    monkeypatch.setattr(listing, "MOST_OBJECTS", 1)
    load(bucket.url("docs"))
    assert load.rejections == ["docs: cannot be read: holds more than 1 objects; load the folders in it one by one"]


def test_rules_that_cannot_be_had_leave_their_folder_to_the_next_load(load, bucket, s3):
    bucket.put(docs__a="one", docs__sub__b="two")
    load(bucket.url("docs"))
    bucket.put_as("docs/sub/.gitignore", b"*.txt\n")
    s3.faults[bucket.path("docs/sub/.gitignore")] = [status(403)]
    report = load(bucket.url("docs"), prune=True, yes=True)
    assert (report.unchanged, report.gone) == (1, 0)
    [rejection] = load.rejections
    assert rejection.startswith("docs/sub: cannot be read: access is denied")


def test_one_document_has_one_address(load, bucket, s3):
    bucket.put(docs__a="one")
    load(bucket.url("docs/a.md"), bucket.url("docs/"), bucket.url("docs"))
    assert load.origins() == ["docs/a.md"]
