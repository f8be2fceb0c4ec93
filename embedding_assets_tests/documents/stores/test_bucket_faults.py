"""What goes wrong with a store: one clear sentence each, other files go on, and nothing is removed."""

import shutil
import socket

import pytest

from embedding_assets.documents.stores import bucket as bucket_module
from embedding_assets.errors import DocumentError
from embedding_assets_tests.support.stores import as_usual, cut, slow, status

FORBIDDEN = b"<Error><Code>AccessDenied</Code><AWSAccessKeyId>keycanary</AWSAccessKeyId></Error>"


def refused(load, *urls):
    with pytest.raises(DocumentError) as error:
        load(*urls)
    message = str(error.value)
    assert "canary" not in message
    return message


def test_what_is_not_there(load, bucket):
    bucket.put(docs__a="one")
    assert refused(load, "s3://no-such-bucket-here/docs") == (
        "s3://no-such-bucket-here/docs cannot be read: there is no such bucket"
    )
    assert refused(load, "s3://no-such-bucket-here").endswith("there is no such bucket")
    assert refused(load, bucket.url("dogs")).endswith("cannot be read: there is no such file or folder")
    assert refused(load, bucket.url("docs/b.md")).endswith("there is no such file or folder")


def test_no_rights(load, bucket, s3):
    bucket.put(docs__a="one", docs__b="two")
    s3.faults[bucket.path("docs/a.md")] = [status(403, FORBIDDEN)]
    report = load(bucket.url("docs"))
    assert (report.new, report.rejected_files, load.rows()) == (1, 0, ["two"])
    assert load.rejections == [
        "docs/a.md: cannot be read: access is denied; check that the credentials may list the bucket and read its "
        "objects"
    ]
    s3.faults[f"/{bucket.name}"] = s3.faults[bucket.path("")] = [status(403, FORBIDDEN)]
    assert "access is denied" in refused(load, bucket.url())
    assert load.origins() == ["docs/b.md"]


def test_one_who_may_list_a_folder_alone_may_load_it(load, bucket, s3):
    bucket.put(docs__a="one")
    s3.faults[bucket.path("docs")] = s3.faults[bucket.path("dogs")] = [status(403, FORBIDDEN)]
    assert load(bucket.url("docs")).new == 1
    assert "access is denied" in refused(load, bucket.url("dogs"))


def test_what_is_gone_while_it_is_read_is_rejected(load, bucket, s3):
    bucket.put(docs__a="one", docs__b="two")
    load(bucket.url("docs"))
    bucket.put(docs__a="edited")
    s3.faults[bucket.path("docs/a.md")] = [status(404)]
    report = load(bucket.url("docs"), prune=True, yes=True)
    assert (report.gone, report.unchanged) == (0, 1)
    assert load.rejections == ["docs/a.md: cannot be read: it is not there any more"]
    assert load.rows() == ["one", "two"]


def test_a_fault_that_passes_is_not_noticed(load, bucket, s3):
    bucket.put(docs__a="one")
    s3.faults[bucket.path("docs/a.md")] = [status(500), status(503), as_usual]
    s3.faults[f"/{bucket.name}"] = [status(500), as_usual]
    assert (load(bucket.url("docs")).new, load.rejections) == (1, [])


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(bucket_module, "_RETRY_SECONDS", 1)
    monkeypatch.setattr(bucket_module, "_SILENT_SECONDS", 1)
    monkeypatch.setattr(bucket_module, "_ANSWER_SECONDS", 3.0)


def test_a_fault_that_stays_costs_one_file(load, bucket, s3, impatient):
    bucket.put(docs__a="one", docs__b="two", docs__c="three", docs__d="four")
    s3.faults[bucket.path("docs/a.md")] = [status(500)]
    s3.faults[bucket.path("docs/b.md")] = [cut]
    s3.faults[bucket.path("docs/c.md")] = [slow(20)]
    assert load(bucket.url("docs")).new == 1
    assert [line.partition(": cannot be read: ")[::2] for line in load.rejections] == [
        ("docs/a.md", "the store goes on failing; try again later"),
        ("docs/b.md", "the store's answer was cut off"),
        ("docs/c.md", "the store does not answer in time"),
    ]
    s3.faults.clear()
    assert load(bucket.url("docs")).new == 3


def test_a_listing_that_fails_removes_nothing(load, bucket, s3, impatient):
    bucket.put(**{f"docs__n{number}": f"text {number}" for number in range(3)})
    load(bucket.url("docs"))
    before = load.origins()
    # It is there, when it is looked for; the first page comes, the second one fails.
    page = (
        f"<ListBucketResult><Name>{bucket.name}</Name><IsTruncated>true</IsTruncated>"
        "<NextContinuationToken>more</NextContinuationToken><Contents><Key>docs/n0.md</Key><Size>6</Size>"
        "<LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;x&quot;</ETag></Contents></ListBucketResult>"
    ).encode()
    s3.faults[f"/{bucket.name}"] = [as_usual, status(200, page), status(403, FORBIDDEN)]
    report = load(bucket.url("docs"), prune=True, yes=True)
    assert (report.gone, report.pruned, report.documents) == (0, 0, 0)
    [rejection] = load.rejections
    assert rejection.startswith("docs: cannot be read: access is denied")
    assert load.origins() == before


def test_a_server_that_is_away(load, s3, monkeypatch, impatient):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free.getsockname()[1]}")
        assert refused(load, "s3://bucket/docs").endswith(
            "the store cannot be reached; check its address and the network"
        )


def test_a_server_without_tls(load, s3, monkeypatch, impatient):
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url.replace("http://", "https://"))
    assert "TLS" in refused(load, "s3://bucket/docs")


def test_no_encryption_but_on_this_machine_or_where_it_is_allowed(load, monkeypatch, impatient):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://192.0.2.1:9000")
    assert "AWS_ALLOW_HTTP=true" in refused(load, "s3://bucket/docs")


def test_an_endpoint_that_is_no_url(load, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "minio:9000")
    assert "AWS_ENDPOINT_URL is no URL" in refused(load, "s3://bucket/docs")


def test_no_credentials(load, s3, monkeypatch, impatient):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", s3.url)
    s3.faults["/latest/api/token"] = [status(404)]
    assert "there are no credentials; set AWS_ACCESS_KEY_ID and" in refused(load, "s3://bucket/docs")


def test_credentials_that_are_not_accepted(load, bucket, s3):
    s3.faults[f"/{bucket.name}"] = [status(403, b"<Error><Code>InvalidAccessKeyId</Code></Error>")]
    assert "the store does not accept the credentials" in refused(load, bucket.url())


def test_a_full_disk(load, bucket, monkeypatch):
    bucket.put(docs__a="one")
    usage = shutil.disk_usage("/")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=1_000))
    load(bucket.url("docs"))
    [rejection] = load.rejections
    assert "TMPDIR names another folder" in rejection


def test_the_extra_is_named_where_it_is_missing(load, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "embedding_assets.documents.stores.bucket", None)
    assert refused(load, "s3://bucket/docs") == (
        "s3:// needs obstore to be read: pip install 'embedding-assets[stores]'"
    )
