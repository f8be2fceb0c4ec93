"""A PostgreSQL server with pgvector that needs no installation: one per data folder, shared, gone with its last user.

The list of users is left to the kernel: each process keeps a shared lock on ``postgres.users``, which ends with the
process however that ends. A process that can take it exclusively is alone, and stops the server when leaving. Process
ids would need pruning, and mean nothing once they are reused.
"""

from __future__ import annotations

import atexit
import fcntl
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedding_assets.errors import ConfigurationError, DatabaseUnavailableError
from embedding_assets.postgres.server import postmaster
from embedding_assets.postgres.server.system_user import SystemUser, server_user

logger = logging.getLogger(__name__)

# Reentrant: the exit handler may run in a thread that was interrupted while it held this.
_guard = threading.RLock()
_uses: dict[Path, int] = {}


def start_embedded_server(data_dir: Path) -> str:
    """Make sure that the server of ``data_dir`` runs, until the last process that called this has ended.

    Returns:
        Its libpq URL. The server listens on a unix socket only, which no other user can reach.

    Raises:
        ConfigurationError: the folder cannot be used; the message names ``EMBEDDING_DATA_DIR``.
        DatabaseUnavailableError: the server did not start.
    """
    data_dir = data_dir.expanduser().resolve()
    with _guard:
        try:
            user = _prepared(data_dir)
            with _exclusive(data_dir / "postgres.lock"):
                # First: what interrupts the start finds it in use, and stops it when leaving.
                _register(data_dir)
                url = postmaster.ensure_running(data_dir / "postgres", user)
        except OSError as error:
            raise ConfigurationError(
                f"EMBEDDING_DATA_DIR: {data_dir} cannot be used ({error.strerror or error}); set EMBEDDING_DATA_DIR to "
                "a folder you may write to, or EMBEDDING_DATABASE_URL to another PostgreSQL"
            ) from error
    return url


def future_url(data_dir: Path) -> str | None:
    """The URL that the server of ``data_dir`` will have once it is made; None where its data is there."""
    cluster = data_dir.expanduser().resolve() / "postgres"
    try:
        if next(cluster.iterdir(), None) is None:  # an empty folder may be what a volume is mounted at
            return postmaster.url_of(cluster)
    except FileNotFoundError:
        return postmaster.url_of(cluster)
    except OSError:
        pass  # starting it says why it cannot be used
    return None


def stop_embedded_server(data_dir: Path) -> None:
    """End this process's use of the server now instead of at exit; stops it unless another process uses it."""
    data_dir = data_dir.expanduser().resolve()
    with _guard:
        handle = _uses.pop(data_dir, None)
        if handle is None:
            return
        os.close(handle)
        try:
            with _exclusive(data_dir / "postgres.lock"):
                if _unused(data_dir):
                    postmaster.stop(data_dir / "postgres")
        except (OSError, DatabaseUnavailableError) as error:
            logger.warning("the embedded PostgreSQL was not stopped", extra={"reason": str(error)})


def _prepared(data_dir: Path) -> SystemUser | None:
    user = server_user(data_dir / "postgres")
    missing = [path for path in (data_dir, *data_dir.parents) if not path.exists()]
    if user is not None:
        user.require_access(data_dir)
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        if user is not None:
            path.chmod(0o755)  # whatever the umask: the server's user must be able to enter
    return user


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        # Not only by closing: a child forked meanwhile holds a copy of the handle.
        fcntl.flock(handle, fcntl.LOCK_UN)
        os.close(handle)


def _register(data_dir: Path) -> None:
    if data_dir in _uses:
        return
    if not _uses:
        atexit.unregister(_stop_all)
        atexit.register(_stop_all)
    handle = os.open(data_dir / "postgres.users", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(handle, fcntl.LOCK_SH)
    _uses[data_dir] = handle


def _unused(data_dir: Path) -> bool:
    handle = os.open(data_dir / "postgres.users", os.O_RDWR)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True


def _stop_all() -> None:
    for data_dir in list(_uses):
        stop_embedded_server(data_dir)
