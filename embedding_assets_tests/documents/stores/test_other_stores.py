"""Stores of Google and Azure: their URLs and settings, answered by what their servers would send."""

import json
from urllib.parse import unquote, urlsplit

import pytest

from embedding_assets.errors import DocumentError
from embedding_assets_tests.support.stores import Handler, serving

TIME = "Thu, 01 Jan 2026 00:00:00 GMT"
OBJECTS = {"docs/a.md": b"one", "docs/sub/b.md": b"two"}


def google(handler: Handler) -> None:
    contents = "".join(
        f"<Contents><Key>{name}</Key><Size>{len(body)}</Size><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
        f'<ETag>"{name}"</ETag></Contents>'
        for name, body in OBJECTS.items()
    )
    answer(handler, f"<ListBucketResult><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>")


def azure(handler: Handler) -> None:
    blobs = "".join(
        f"<Blob><Name>{name}</Name><Properties><Last-Modified>{TIME}</Last-Modified><Etag>{name}</Etag>"
        f"<Content-Length>{len(body)}</Content-Length><Content-Type>text/markdown</Content-Type></Properties></Blob>"
        for name, body in OBJECTS.items()
    )
    answer(handler, f"<EnumerationResults><Blobs>{blobs}</Blobs><NextMarker/></EnumerationResults>")


def answer(handler: Handler, listing: str) -> None:
    name = unquote(urlsplit(handler.path).path).partition("bucket")[2].lstrip("/")
    if not name:
        handler.send(200, listing.encode())
    elif name in OBJECTS:
        handler.send(200, OBJECTS[name], {"ETag": f'"{name}"', "Last-Modified": TIME})
    else:
        handler.send(404)


@pytest.mark.parametrize(("scheme", "server"), [("gs", google), ("az", azure)])
def test_a_folder_is_loaded_and_what_is_unchanged_is_not_read_again(load, monkeypatch, scheme, server):
    with serving(server) as store:
        key = {"gcs_base_url": store.url, "disable_oauth": True, "client_email": "", "private_key": ""}
        monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", json.dumps({**key, "private_key_id": ""}))
        monkeypatch.setenv("GOOGLE_ALLOW_HTTP", "true")
        monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", store.url)
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
        monkeypatch.setenv("AZURE_SKIP_SIGNATURE", "true")
        url = f"{scheme}://bucket/docs"
        assert (load(url).new, load.rejections) == (2, [])
        assert (load.origins(), load.rows()) == (["docs/a.md", "docs/sub/b.md"], ["one", "two"])
        assert load(url).unchanged == 2
        assert store.count("GET", ".md") == 2


def test_settings_that_are_missing_are_named(load, monkeypatch):
    for name in ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_CONNECTION_STRING"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(DocumentError, match="there are no credentials; set AZURE_STORAGE_ACCOUNT_NAME"):
        load("az://container/docs")
