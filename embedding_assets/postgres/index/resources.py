"""Workers and memory of an index build, by what the server has and allows."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from embedding_assets.cgroups import allowed_cpus

if TYPE_CHECKING:
    from embedding_assets.config import IndexConfig
    from embedding_assets.postgres.connection import Connection

logger = logging.getLogger(__name__)

_WORKER_MEMORY_MB: Final = 32
"""PostgreSQL starts a worker only for this much of maintenance_work_mem, and as much for the leader."""

_LEAST_MEMORY_MB: Final = 64
_CGROUP: Final = Path("/sys/fs/cgroup")
"""Of this container, in which the files are called otherwise by the version of cgroups."""

_USUAL_MEMORY_MB: Final = 1024
"""Taken from a server elsewhere whatever its settings say; most leave them as they come."""


@dataclass(frozen=True, slots=True)
class ServerResources:
    """What a server says of itself, and what of this machine it may use where it is here.

    Attributes:
        most_workers: that it can start at all.
        workers: that it gives a build unasked (max_parallel_maintenance_workers).
        maintenance_mb: memory that it gives a build unasked (maintenance_work_mem).
        shared_mb: its shared_buffers, usually a quarter of the memory of a server that was set up with care.
        cores: that this process may use, where the server is on the same machine; else None.
        free_mb: memory that is free there; None elsewhere, or if that is not known.
    """

    most_workers: int
    workers: int
    maintenance_mb: int
    shared_mb: int
    cores: int | None = None
    free_mb: int | None = None


def choose_resources(
    connection: Connection, config: IndexConfig, wanted_mb: int, *, in_parallel: bool
) -> tuple[int, int]:
    """The parallel workers of a build, and its maintenance_work_mem in MiB.

    Args:
        connection: to the server.
        config: what is set comes first, as far as the server can do it.
        wanted_mb: memory of the whole graph.
        in_parallel: whether its pgvector may.
    """
    server = read_resources(connection)
    workers = plan_workers(config.workers, server) if in_parallel else 0
    if in_parallel and workers < (config.workers or 0):
        logger.warning(
            "EMBEDDING_INDEX_WORKERS=%d is more than the server's max_parallel_workers and max_worker_processes allow; "
            "building with %d",
            config.workers,
            workers,
            extra={"workers": workers},
        )
    return workers, plan_memory(config.memory_mb, server, wanted_mb, workers)


def plan_workers(configured: int | None, server: ServerResources) -> int:
    """The workers to ask for; the leader builds beside them."""
    if configured is None:
        configured = server.workers if server.cores is None else server.cores - 1
    return min(configured, server.most_workers)


def plan_memory(configured: int | None, server: ServerResources, wanted_mb: int, workers: int) -> int:
    """The maintenance_work_mem to set, in MiB: no more than the graph takes, and enough for each worker to start."""
    if configured is None and server.free_mb is not None:
        configured = max(_LEAST_MEMORY_MB, server.free_mb // 2)
    elif configured is None:
        configured = max(_USUAL_MEMORY_MB, server.maintenance_mb, server.shared_mb)
    return min(configured, max(wanted_mb, _WORKER_MEMORY_MB * (workers + 1)))


def read_resources(connection: Connection) -> ServerResources:
    """What the server says, and what this machine has where it is here."""
    query = """
        SELECT least(
                   current_setting('max_parallel_workers')::integer, current_setting('max_worker_processes')::integer
               ),
               current_setting('max_parallel_maintenance_workers')::integer,
               pg_size_bytes(current_setting('maintenance_work_mem')) >> 20,
               pg_size_bytes(current_setting('shared_buffers')) >> 20,
               inet_server_addr() IS NULL
    """
    row: Any = connection.execute(query).fetchone()
    *values, by_socket = row
    here = (allowed_cpus(), _free_mb()) if is_here(connection.info.host, by_socket=by_socket) else ()
    return ServerResources(*values, *here)


def is_here(host: str, *, by_socket: bool) -> bool:
    """True if the server is on this machine, for sure: both ends of the connection are sockets.

    A pooler or a tunnel may have one at either end, and an address of this machine's own may be a tunnel's.

    Args:
        host: that was connected to.
        by_socket: whether the server was reached by a socket, as it says.
    """
    return by_socket and host.startswith(("/", "@"))


def _free_mb() -> int | None:
    """Memory that programs could still get on Linux, within the limit of a container; None elsewhere."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        return None
    found = (line.split() for line in lines if line.startswith("MemAvailable:"))
    free = next((int(fields[1]) // 1024 for fields in found), None)
    limits = (
        _left_in(_CGROUP / "memory.max", _CGROUP / "memory.current", _CGROUP / "memory.stat"),
        _left_in(*(_CGROUP / "memory" / f"memory.{name}" for name in ("limit_in_bytes", "usage_in_bytes", "stat"))),
    )
    return min((left for left in (free, *limits) if left is not None), default=None)


def _left_in(limit: Path, usage: Path, statistics: Path) -> int | None:
    """MiB below the limit; None without one. Files that are cached count as used there, and are given up for programs.

    Shared memory is cached, too, and is not: it is no file that the kernel has listed as one.
    """
    try:
        most, used = int(limit.read_text("ascii")), int(usage.read_text("ascii"))
        counts = dict(line.split() for line in statistics.read_text("ascii").splitlines())
    except (OSError, ValueError):  # no such limit
        return None
    # With total_ those of groups below are counted, which without it are in version 2 alone.
    files = (counts.get(f"total_{kind}", counts.get(kind, "0")) for kind in ("active_file", "inactive_file"))
    return max(0, most - used + sum(map(int, files))) >> 20
