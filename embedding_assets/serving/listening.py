"""Sockets to listen on: refused where others could reach them without a key, or where something else listens."""

from __future__ import annotations

import errno
import socket
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from embedding_assets.errors import ConfigurationError
from embedding_assets.serving.guard import LOOPBACK_NAMES, is_loopback

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from embedding_assets.config import ServeConfig

_BACKLOG: Final = 128

_SOCKET_MODE: Final = 0o660
"""Of a Unix socket: its user and its group may connect."""


@dataclass(frozen=True, slots=True)
class Listening:
    """A socket that listens.

    Attributes:
        socket: itself.
        address: as a client writes it.
        hosts: names that requests may be addressed to; empty: any.
    """

    socket: socket.socket
    address: str
    hosts: Collection[str]

    @property
    def port(self) -> int | None:
        """Its port; None on a Unix socket."""
        name = self.socket.getsockname()
        return name[1] if isinstance(name, tuple) else None


@contextmanager
def listening(host: str, port: int, config: ServeConfig) -> Iterator[Listening]:
    """A TCP socket.

    Args:
        host: name or address.
        port: 0: any that is free.
        config: with the key, if there is one.

    Raises:
        ConfigurationError: others could reach it without a key, something else listens there, or there is no such
            address here.
    """
    family, address = _resolved(host, port)
    local = is_loopback(address[0])
    if not local and config.key is None:
        raise ConfigurationError(
            f"--host {host} can be reached from other machines; set EMBEDDING_SERVE_KEY to a key that they bring, e.g. "
            "of `openssl rand -hex 24`"
        )
    hosts = (*LOOPBACK_NAMES, *config.hosts) if local else config.hosts
    with closing(_bound(family, address, host)) as bound:
        shown = f"[{address[0]}]" if family == socket.AF_INET6 else address[0]
        yield Listening(bound, f"http://{shown}:{bound.getsockname()[1]}", hosts)


@contextmanager
def listening_at(path: Path, config: ServeConfig) -> Iterator[Listening]:
    """A Unix socket, removed at the end.

    Raises:
        ConfigurationError: something else is there, or it cannot be made.
    """
    _make_room(path)
    with closing(socket.socket(socket.AF_UNIX)) as bound:
        try:
            bound.bind(str(path))
            path.chmod(_SOCKET_MODE)
            bound.listen(_BACKLOG)
        except OSError as error:
            raise ConfigurationError(f"--socket: cannot listen at {path}: {error.strerror or error}") from None
        try:
            yield Listening(bound, str(path), config.hosts)
        finally:
            with suppress(FileNotFoundError):
                path.unlink()


def _resolved(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError):
        raise ConfigurationError(f"--host: {host!r} is neither an address nor a name of this machine") from None
    family, _, _, _, address = found[0]
    return family, (str(address[0]), int(address[1]))


def _bound(family: socket.AddressFamily, address: tuple[str, int], host: str) -> socket.socket:
    try:
        return socket.create_server(address, family=family, backlog=_BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigurationError(
                f"port {address[1]} is taken on {host}; choose another with --port, or 0 for any that is free"
            ) from None
        raise ConfigurationError(f"cannot listen on {host}, port {address[1]}: {error.strerror or error}") from None


def _make_room(path: Path) -> None:
    """Remove what an ended service has left at the path of its socket."""
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigurationError(f"--socket: cannot listen at {path}: {error.strerror}") from None
    if not stat.S_ISSOCK(kind):
        raise ConfigurationError(f"--socket: {path} is there already and is no socket; choose another path")
    with closing(socket.socket(socket.AF_UNIX)) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except OSError as error:
            raise ConfigurationError(f"--socket: cannot listen at {path}: {error.strerror}") from None
    raise ConfigurationError(f"--socket: something else listens at {path}; choose another path")
