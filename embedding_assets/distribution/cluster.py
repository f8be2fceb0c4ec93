"""A Ray cluster: the only place that knows Ray.

Ray core alone, no data sets of it: a worker reads the table and writes to it, so no text enters Ray's object store.
"""

from __future__ import annotations

import io
import logging
import os
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from embedding_assets.distribution.layout import Node
from embedding_assets.distribution.worker import Worker
from embedding_assets.errors import ClusterError, ConfigurationError

if TYPE_CHECKING:
    from embedding_assets.distribution.layout import Layout
    from embedding_assets.distribution.worker import Order

logger = logging.getLogger(__name__)

LOCAL: Final = "local"
"""Stands for a cluster that is started for the run, on this machine alone, and ends with it."""

_THREADS: Final = 4
"""Of a worker: one embeds, the others answer the driver."""

_OBJECT_STORE_BYTES: Final = 100 * 2**20
"""Of a cluster that is started here. Statistics and log lines are all that passes through it."""

_CONNECT_SECONDS: Final = 10.0

_ELSE: Final = "leave the address away to start one for this run"

_ENVIRONMENT: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray would warn of a change to come in what workers without a GPU see of GPUs; theirs is said by their settings.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """The answer of a worker that died.

    Attributes:
        reason: as Ray says it.
        lacks_package: it died because its machine does not have this package.
    """

    reason: str
    lacks_package: bool = False


class Member:
    """A worker of the cluster, as its driver sees it."""

    def __init__(self, ray: ModuleType, actor: Any) -> None:
        self._ray = ray
        self._actor = actor

    def ask(self, method: str, *arguments: object, answer: Callable[[object], object]) -> None:
        """Call a method of ``Worker``; ``answer`` is given what it returns, or a ``WorkerLost``, in another thread."""

        def done(future: Future[object]) -> None:
            error = future.exception()
            answer(future.result() if error is None else _lost(error))

        getattr(self._actor, method).remote(*arguments).future().add_done_callback(done)

    def dismiss(self) -> None:
        """End its process, whatever it does; its locks end with its connections."""
        with suppress(Exception):  # the cluster may be gone, and the process with it
            self._ray.kill(self._actor)


class Cluster:
    """A cluster this process is connected to."""

    def __init__(self, ray: ModuleType) -> None:
        self._ray = ray

    def nodes(self) -> list[Node]:
        """Those alive."""
        return [
            Node(node["NodeManagerHostname"], *(node["Resources"].get(kind, 0.0) for kind in ("CPU", "GPU")))
            for node in self._ray.nodes()
            if node["Alive"]
        ]

    def hire(self, order: Order, layout: Layout) -> Member:
        """A new worker, which starts when there is room for it; Ray ends it when this process ends."""
        remote = self._ray.remote(Worker).options(
            num_cpus=layout.cpus,
            num_gpus=layout.gpus,
            max_concurrency=_THREADS,
            max_restarts=0,  # the driver starts another itself, which tells the one from the other
            scheduling_strategy="SPREAD",
        )
        return Member(self._ray, remote.remote(order))


@contextmanager
def connected(address: str) -> Iterator[Cluster]:
    """The cluster at ``address``, or a new one; as in ``EMBEDDING_RAY_ADDRESS``. One that is connected to is taken.

    Raises:
        ConfigurationError: Ray is not installed.
        ClusterError: there is no cluster, or it does not go with what is installed here.
    """
    with _environment(_local_environment() if address == LOCAL else _ENVIRONMENT):
        try:
            import ray
        except ImportError:
            raise ConfigurationError(
                "embedding on Ray needs a package that is not installed; run: pip install 'embedding-assets[ray]'"
            ) from None
        if ray.is_initialized():
            yield Cluster(ray)
            return
        with redirect_stdout(_Announcements()):
            with _own_signal_handlers():
                _initialize(ray, address)
            try:
                yield Cluster(ray)
            finally:
                ray.shutdown()


class _Announcements(io.TextIOBase):
    """Standard output for Ray, which prints there what happens on the cluster: it is for the result of a command."""

    def write(self, text: str) -> int:
        """Log it."""
        if text.strip():
            logger.info("%s", text.strip())
        return len(text)


def _initialize(ray: ModuleType, address: str) -> None:
    options: dict[str, Any] = {"address": address}
    _check_that_it_listens(ray, address)
    if address == LOCAL:
        options |= {
            "include_dashboard": False,
            "object_store_memory": _OBJECT_STORE_BYTES,
            "_node_ip_address": "127.0.0.1",
        }
    # Its advice on tokens, which it handles by itself.
    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        # What workers log comes by their reports.
        ray.init(**options, configure_logging=False, log_to_driver=False)
    except ConnectionError:
        raise ClusterError(
            f"no Ray cluster lets this run in at {address}; start one with `ray start --head`, set RAY_AUTH_MODE=token "
            f"where it asks for a token, or {_ELSE}"
        ) from None
    except (RuntimeError, ValueError, OSError) as error:
        raise ClusterError(f"Ray does not start: {error}") from None


def _check_that_it_listens(ray: ModuleType, address: str) -> None:
    """Ray would try again for minutes, and say that in lines of its own."""
    host, _, port = address.rpartition(":")
    if not host:
        return
    # Ray takes the machine's own address for loopback.
    own = [ray.util.get_node_ip_address()] if host in {"localhost", "127.0.0.1", "[::1]"} else []
    failure: OSError | None = None
    for name in (host.strip("[]"), *own):
        try:
            socket.create_connection((name, int(port)), timeout=_CONNECT_SECONDS).close()
        except OSError as error:
            failure = failure or error
        else:
            return
    if failure is not None:
        raise ClusterError(
            f"no Ray cluster answers at {address} ({failure.strerror or failure}); see whether `ray start --head` runs "
            f"there, and whether a firewall lets this machine in, or {_ELSE}"
        )


def _local_environment() -> dict[str, str]:
    return {
        **_ENVIRONMENT,
        # Without clusters, as elsewhere than on Linux, it listens on loopback only. Read when Ray is imported.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        # No other user of this machine knows it, and it is not kept.
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Variables for this process and those it starts, where they are not set; unset again in the end."""
    missing = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(missing)
    try:
        yield
    finally:
        for name in missing:
            os.environ.pop(name, None)


@contextmanager
def _own_signal_handlers() -> Iterator[None]:
    """Keep Ray from replacing the handlers of signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            if handler is not None:
                signal.signal(number, handler)


def _lost(error: BaseException) -> WorkerLost:
    text = str(error)
    if "failed to import" in text or "ModuleNotFoundError" in text:
        return WorkerLost(text, lacks_package=True)
    details = [line.strip() for line in text.splitlines() if "exit detail" in line or "because" in line]
    return WorkerLost(" ".join(details) or text.splitlines()[0] if text else type(error).__name__)
