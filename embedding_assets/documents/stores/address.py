"""Where something is that is not on this machine: its URL, and what of that may be shown."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

from embedding_assets.errors import DocumentError
from embedding_assets.formatting import visible

BUCKETS: Final = {"s3": "AWS", "gs": "GOOGLE", "az": "AZURE"}
"""Schemes of object stores, and what the names of their settings in the environment begin with."""

_WEB: Final = ("https", "http")


def is_elsewhere(given: str) -> bool:
    """Whether it is the URL of a bucket or a file, and not a path of this machine."""
    return "://" in given


@dataclass(frozen=True, slots=True)
class Address:
    """What a URL leads to.

    Attributes:
        scheme: ``s3``, ``gs``, ``az``, ``https`` or ``http``.
        host: the bucket, or the server with its port; without a password.
        path: in there, without slashes around it.
        is_folder: whether the URL says so, by the slash at its end or since it is a whole bucket.
        url: to be asked for; it may hold secrets.
    """

    scheme: str
    host: str
    path: str
    is_folder: bool = field(compare=False)
    url: str = field(repr=False)

    def __str__(self) -> str:
        return visible(f"{self.scheme}://{self.host}/{self.path}".rstrip("/"))

    @property
    def is_web(self) -> bool:
        """Whether it is a file of a web server."""
        return self.scheme in _WEB

    def folder(self, path: str) -> str:
        """How the collection's folder at ``path`` is recorded: without anything secret."""
        return f"{self.scheme}://{self.host}/{path}".rstrip("/")


def parsed(given: str) -> Address:
    """What a URL leads to.

    Raises:
        DocumentError: it is none of those that are read; its text is not repeated beyond scheme and host.
    """
    scheme, _, rest = given.strip().partition("://")
    scheme = scheme.lower()
    if scheme in BUCKETS:
        # What follows are names of objects as they are: a %, ? or # stands for itself.
        host, _, path = rest.partition("/")
        if not host or "@" in host:
            raise DocumentError(f"{scheme}:// names a bucket and a folder in it, as in {scheme}://bucket/docs")
        name = path.strip("/")
        return Address(scheme, host, name, not name or path.endswith("/"), f"{scheme}://{host}/{name}")
    if scheme not in _WEB:
        raise DocumentError(f"{visible(scheme)}:// is not read; a URL begins with s3://, gs://, az:// or https://")
    try:
        parts = urlsplit(given.strip())
        port = f":{parts.port}" if parts.port else ""
        host = parts.hostname or ""
    except ValueError:
        host, port = "", ""
    path = unquote(parts.path).strip("/") if host else ""
    if not path:
        raise DocumentError(f"{scheme}:// names one file of a web server, as in https://host/guide.md")
    return Address(scheme, f"[{host}]{port}" if ":" in host else f"{host}{port}", path, False, given.strip())
