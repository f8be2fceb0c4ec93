"""How many workers a cluster gets, and what each of them has to itself; planned purely."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from embedding_assets.errors import ClusterError

if TYPE_CHECKING:
    from embedding_assets.config import RayConfig


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of the cluster, and what the cluster counts there, whether in use or not."""

    name: str
    cpus: float
    gpus: float


@dataclass(frozen=True, slots=True)
class Layout:
    """The workers of a run.

    Attributes:
        workers: how many.
        cpus: cores of each, and threads that it computes with.
        gpus: GPUs of each, or a share of one.
    """

    workers: int
    cpus: int
    gpus: float


def plan_layout(nodes: Sequence[Node], config: RayConfig, *, may_use_gpus: bool) -> Layout:
    """Divide a cluster's nodes among workers as configured, and sensibly where nothing is.

    Args:
        nodes: those alive.
        config: what is configured.
        may_use_gpus: whether a GPU is of use: the model is local, and not bound to the CPU.

    Raises:
        ClusterError: the cluster does not have what is configured.
    """
    gpus = config.gpus_per_worker
    if gpus is None:
        gpus = 1.0 if may_use_gpus and any(node.gpus >= 1 for node in nodes) else 0.0
    if config.cpus_per_worker is not None:
        cpus = config.cpus_per_worker
    else:
        cpus = 1 if gpus else _fair_cpus(nodes, config.workers)
    places = sum(_places(node, cpus, gpus) for node in nodes)
    workers = config.workers or places
    if not places or workers > places:
        raise ClusterError(_too_little(nodes, config.workers or 1, cpus, gpus, places))
    return Layout(workers, cpus, gpus)


def _places(node: Node, cpus: int, gpus: float) -> int:
    by_cpus = int(node.cpus // cpus)
    if not gpus:
        return by_cpus
    # Ray never gives a share of one GPU together with a share of another.
    by_gpus = int(node.gpus // gpus) if gpus >= 1 else int(node.gpus) * int(1 / gpus + 1e-9)
    return min(by_cpus, by_gpus)


def _fair_cpus(nodes: Sequence[Node], workers: int | None) -> int:
    """Most cores a worker can have where there are to be so many workers; by default one a node."""
    sizes = [int(node.cpus) for node in nodes if node.cpus >= 1]
    if not sizes:
        return 1
    if workers is None:
        return min(sizes)
    for cpus in range(max(sizes), 1, -1):
        if sum(size // cpus for size in sizes) >= workers:
            return cpus
    return 1


def _too_little(nodes: Sequence[Node], workers: int, cpus: int, gpus: float, places: int) -> str:
    has = (
        "; ".join(f"{node.name} has {node.cpus:g} CPUs and {node.gpus:g} GPUs" for node in nodes) or "no node is there"
    )
    asked = f"{workers} worker{'s' if workers > 1 else ''} of {cpus} CPUs" + (f" and {gpus:g} GPUs" if gpus else "")
    return (
        f"the Ray cluster has no room for {asked} ({has}: {places} fit); ask for less with --workers, "
        "--cpus-per-worker or --gpus-per-worker (EMBEDDING_RAY_…), or add nodes"
    )
