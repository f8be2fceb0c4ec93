"""The address of an API: what it is called, whether it is OpenAI's own, and whether texts may be sent there."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from embedding_assets.errors import ConfigurationError

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
    parts = urlsplit(config.base_url)
    if parts.scheme == "http" and not config.allow_http and not _is_this_machine(parts.hostname or ""):
        raise ConfigurationError(
            f"EMBEDDING_OPENAI_BASE_URL would send texts and key to {parts.hostname} unencrypted, for anybody on "
            "the way to read; use https, or set EMBEDDING_OPENAI_ALLOW_HTTP=true if that network is trusted"
        )


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
