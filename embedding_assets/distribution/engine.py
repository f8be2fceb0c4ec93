"""Runs that embed on a cluster instead of in this process."""

from __future__ import annotations

import logging
import platform
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from embedding_assets.distribution.admission import POOL_SIZE
from embedding_assets.distribution.cluster import connected
from embedding_assets.distribution.driver import Driver, Ledger
from embedding_assets.distribution.layout import Layout, plan_layout
from embedding_assets.distribution.merging import merge_stats
from embedding_assets.distribution.portable import PortableSettings
from embedding_assets.distribution.worker import Order
from embedding_assets.errors import ClusterError, ConfigurationError, EmbeddingAssetsError
from embedding_assets.logs import correlate
from embedding_assets.postgres.interruption import within
from embedding_assets.postgres.locks import announced
from embedding_assets.postgres.runs import save_run
from embedding_assets.providers.local import LocalProvider
from embedding_assets.providers.openai.provider import OpenAIProvider

if TYPE_CHECKING:
    from embedding_assets.config import Settings
    from embedding_assets.distribution.cluster import Cluster
    from embedding_assets.models import EmbeddingStats
    from embedding_assets.pipeline.run import Engine, Load

logger = logging.getLogger(__name__)

_SAVING_SECONDS: Final = 3.0
"""For the record of a run that was interrupted."""


def chosen_engine(settings: Settings) -> Engine | None:
    """Where the settings have runs embed; None: in their own process."""
    return None if settings.ray.address is None else embed_on_ray


def embed_on_ray(load: Load, advance: Callable[[int], object]) -> EmbeddingStats:
    """Embed a load by workers on the Ray cluster of ``EMBEDDING_RAY_ADDRESS``; returns what all did together.

    Raises:
        ConfigurationError: Ray is not installed, a node lacks a variable or has other versions, the device and what is
            asked of the cluster exclude each other, or the provider is the caller's own, which cannot be sent.
        ClusterError: the cluster cannot be reached, has too little room, or its workers die.
        EmbeddingAssetsError: as in a run without a cluster.
    """
    address = load.settings.ray.address
    if address is None:
        raise ConfigurationError("EMBEDDING_RAY_ADDRESS is not set")
    if not isinstance(load.selection.provider, LocalProvider | OpenAIProvider | None):
        raise ConfigurationError("a provider of your own cannot be sent to a cluster; embed without Ray")
    column, mark = load.selection.column, uuid.uuid4().hex
    with (
        correlate() as run_id,
        announced(load.database, mark, loading=column.space.name),
        connected(address) as cluster,
    ):
        layout = _layout(load, cluster)
        driver = Driver(load, cluster, layout, _order(load, layout, run_id, mark), advance)
        try:
            driver.execute()
        except BaseException as error:
            # What was committed is recorded, whatever ended the run.
            with suppress(EmbeddingAssetsError):
                if isinstance(error, Exception):
                    _save(load, driver.ledger)
                else:
                    within(_SAVING_SECONDS, partial(_save, load, driver.ledger))
            raise
        stats = _save(load, driver.ledger)
    logger.info("run finished: %s", stats.summary, extra=stats.model_dump(exclude={"prefixes", "fallback"}))
    return stats


def _layout(load: Load, cluster: Cluster) -> Layout:
    """The workers of the run, with GPUs or without as ``EMBEDDING_DEVICE`` says.

    Raises:
        ClusterError: the cluster lacks what is asked for.
        ConfigurationError: a GPU is asked for and forbidden.
    """
    is_local, device = load.selection.column.space.provider == "local", load.selection.settings.embedding.device
    wants_gpu = device.startswith("cuda")
    layout = plan_layout(cluster.nodes(), load.settings.ray, may_use_gpus=is_local and (wants_gpu or device == "auto"))
    if is_local and wants_gpu and not layout.gpus:
        raise ClusterError(
            f"EMBEDDING_DEVICE={device} asks for a GPU, and workers get none of the cluster's; set "
            "EMBEDDING_DEVICE=auto or cpu, or add nodes whose GPUs Ray counts (`ray status`)"
        )
    if is_local and layout.gpus and not (wants_gpu or device == "auto"):
        raise ConfigurationError(
            f"EMBEDDING_DEVICE={device} has no use for GPUs, and workers are to get {layout.gpus:g}; set "
            "EMBEDDING_DEVICE=auto, or leave --gpus-per-worker away (EMBEDDING_RAY_GPUS_PER_WORKER)"
        )
    return layout


def _order(load: Load, layout: Layout, run_id: str, mark: str) -> Order:
    selection = load.selection if load.batch_size is None else load.selection.with_batch_size(load.batch_size)
    database = load.settings.database
    pool_size = database.pool_size if "pool_size" in database.model_fields_set else POOL_SIZE
    fitted = partial(_fitted, layout=layout, pool_size=pool_size)
    return Order(
        run_id=run_id,
        mark=mark,
        settings=PortableSettings.of(fitted(load.settings)),
        space_settings=PortableSettings.of(fitted(selection.settings)),
        column=selection.column,
        table_oid=load.database.table.oid,
        threads=layout.cpus,
        pool_size=pool_size,
        host="" if database.url is not None else platform.node(),
    )


def _fitted(settings: Settings, *, layout: Layout, pool_size: int) -> Settings:
    """The settings for a worker: for the device that the cluster gives it, with few connections."""
    device = "cuda" if layout.gpus else settings.embedding.device
    if not layout.gpus and device.startswith(("auto", "cuda")):
        device = "cpu"
    return settings.model_copy(
        update={
            "embedding": settings.embedding.model_copy(update={"device": device, "threads": layout.cpus}),
            "database": settings.database.model_copy(update={"pool_size": pool_size}),
        }
    )


def _save(load: Load, ledger: Ledger) -> EmbeddingStats:
    """Record what was done, of each space; returns that of the run's own space."""
    own = load.selection.column.space.name
    seconds = 0.0 if ledger.began is None else time.monotonic() - ledger.began
    merge = partial(merge_stats, workers=ledger.workers, seconds=seconds, load_seconds=ledger.load_seconds)
    stats = merge(own, [part for part in ledger.parts if part.space == own], busy_prefixes=ledger.busy)
    save_run(load.database, stats)
    others = {part.space for part in ledger.parts} - {own}
    for space in others:
        fallback = merge(space, [part for part in ledger.parts if part.space == space])
        save_run(load.database, fallback)
        stats = stats.model_copy(update={"fallback": fallback})
    return stats
