"""The store behind an address."""

from __future__ import annotations

import os
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from embedding_assets.documents.stores.address import BUCKETS, Address
from embedding_assets.documents.stores.web import WebFile
from embedding_assets.errors import DocumentError

if TYPE_CHECKING:
    from embedding_assets.documents.stores.store import Store

EXTRA: Final = "pip install 'embedding-assets[stores]'"

_ENDPOINTS: Final = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": (),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
"""Names of the variables that lead to a server that is compatible with the store's."""


def open_store(address: Address) -> Store:
    """What has the objects of an address; nothing is asked of it yet.

    Raises:
        DocumentError: something has to be installed for it, its settings contradict each other, or it would be asked
            over a network without encryption.
    """
    if address.is_web:
        if address.scheme == "http" and not _is_here(address.url):
            raise DocumentError(f"{address}: files are fetched by https:// alone, from other machines than this one")
        return WebFile(address)
    try:
        from embedding_assets.documents.stores.bucket import open_bucket
    except ImportError:
        raise DocumentError(f"{address.scheme}:// needs obstore to be read: {EXTRA}") from None
    return open_bucket(address, allow_http=_allows_http(address.scheme))


def _allows_http(scheme: str) -> bool:
    """Whether the store may be asked without encryption: on this machine, or where the environment allows it.

    Raises:
        DocumentError: it would have to be, and may not.
    """
    allowing = f"{BUCKETS[scheme]}_ALLOW_HTTP"
    if os.environ.get(allowing, "").strip().lower() in ("1", "true", "yes", "on"):
        return True
    for name in _ENDPOINTS[scheme]:
        url = os.environ.get(name, "").strip()
        if url and "://" not in url:
            raise DocumentError(f"{name} is no URL; set it to one, as https://host:9000")
        if url.lower().startswith("http://"):
            if _is_here(url):
                return True
            raise DocumentError(
                f"{name} leads to another machine without encryption; set it to an https:// address, or allow that "
                f"with {allowing}=true"
            )
    return False


def _is_here(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
