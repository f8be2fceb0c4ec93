"""What URLs lead to, and what of them is shown."""

import pytest

from embedding_assets.documents.stores.address import is_elsewhere, parsed
from embedding_assets.errors import DocumentError


@pytest.mark.parametrize(
    ("url", "shown", "host", "path", "is_folder"),
    [
        ("s3://bucket", "s3://bucket", "bucket", "", True),
        ("s3://bucket/", "s3://bucket", "bucket", "", True),
        ("S3://bucket/docs/", "s3://bucket/docs", "bucket", "docs", True),
        ("gs://bucket/a b?#%20.md", "gs://bucket/a b?#%20.md", "bucket", "a b?#%20.md", False),
        ("az://container/docs", "az://container/docs", "container", "docs", False),
        ("https://h:8443/a%20b.md?token=canary#x", "https://h:8443/a b.md", "h:8443", "a b.md", False),
        ("https://me:canary@h/guide.md", "https://h/guide.md", "h", "guide.md", False),
        ("http://[::1]:80/x.md", "http://[::1]:80/x.md", "[::1]:80", "x.md", False),
    ],
)
def test_a_url_is_taken_apart_and_shown_without_secrets(url, shown, host, path, is_folder):
    address = parsed(url)
    assert (str(address), address.host, address.path, address.is_folder) == (shown, host, path, is_folder)
    assert "canary" not in repr(address)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://h/x.md", "ftp:// is not read"),
        ("s3:///docs", "names a bucket"),
        ("s3://key:canary@bucket/docs", "names a bucket"),
        ("https://", "names one file"),
        ("https://host/", "names one file"),
        ("https://me:canary@h:x/y.md", "names one file"),
    ],
)
def test_what_is_none_is_refused(url, message):
    with pytest.raises(DocumentError, match=message) as refused:
        parsed(url)
    assert "canary" not in str(refused.value)


def test_a_path_is_here():
    assert not is_elsewhere("/srv/docs")
    assert is_elsewhere("s3://bucket")
