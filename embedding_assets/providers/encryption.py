"""Whether texts and keys may be sent to an address."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from embedding_assets.errors import ConfigurationError


def check_encrypted(url: str, setting: str, *, permission: str) -> None:
    """Refuse plain HTTP to another machine.

    Args:
        url: where texts are sent.
        setting: the variable that says so.
        permission: the variable that allows it.

    Raises:
        ConfigurationError: the address is such a one.
    """
    parts = urlsplit(url)
    if parts.scheme == "http" and not _is_this_machine(parts.hostname or ""):
        raise ConfigurationError(
            f"{setting} would send texts and key to {parts.hostname} unencrypted, for anybody on the way to read; use "
            f"https, or set {permission}=true if that network is trusted"
        )


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
