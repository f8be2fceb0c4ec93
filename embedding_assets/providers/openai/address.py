"""The address of an API: what it is called, whether it is OpenAI's own, and whether texts may be sent there."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from embedding_assets.providers.encryption import check_encrypted

if TYPE_CHECKING:
    from embedding_assets.config import OpenAIConfig


def is_openai(base_url: str) -> bool:
    """True for OpenAI itself, in any region."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    return parts.scheme == "https" and (host == "api.openai.com" or host.endswith(".api.openai.com"))


def server_name(base_url: str) -> str:
    """Host, port and path of an API, the usual ones left out; several may stand behind one host."""
    parts = urlsplit(base_url)
    host = parts.netloc.lower().removesuffix(":443" if parts.scheme == "https" else ":80")
    return f"{host}{parts.path.rstrip('/').removesuffix('/v1')}"


def check_address(config: OpenAIConfig) -> None:
    """Refuse plain HTTP to another machine, unless that is allowed.

    Raises:
        ConfigurationError: the address is such a one.
    """
    if not config.allow_http:
        check_encrypted(config.base_url, "EMBEDDING_OPENAI_BASE_URL", permission="EMBEDDING_OPENAI_ALLOW_HTTP")
