"""The address of an API: what it is called, and whether it is OpenAI's own."""

from __future__ import annotations

from urllib.parse import urlsplit


def is_openai(base_url: str) -> bool:
    """True for OpenAI itself, in any region."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    return parts.scheme == "https" and (host == "api.openai.com" or host.endswith(".api.openai.com"))


def server_name(base_url: str) -> str:
    """Host, port and path of an API, the usual path left out; several may stand behind one host."""
    parts = urlsplit(base_url)
    return f"{parts.netloc}{parts.path.rstrip('/').removesuffix('/v1')}"
