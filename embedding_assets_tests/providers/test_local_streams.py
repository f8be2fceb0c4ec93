"""Vectors from several streams of one model: equal to a team's, bounded, and ended with whatever asks for them."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from embedding_assets.encoder.model import LoadedModel
from embedding_assets.encoder.shared import release_models
from embedding_assets.providers.local import LocalProvider
from embedding_assets_tests.support.encoding import embedded, local_provider

TEXTS = [f"{'word ' * (number % 7)}number {number}" for number in range(60)]


@pytest.fixture
def in_streams(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., LocalProvider]]:
    """Makes providers whose models compute in this many streams, whatever the machine."""

    def make(folder: Path, count: int, **settings: object) -> LocalProvider:
        monkeypatch.setattr("embedding_assets.encoder.model.streams_suit", lambda threads, _: threads > 1)
        monkeypatch.setattr("embedding_assets.encoder.threads.usable_cpus", lambda: list(range(count)))
        return local_provider(folder, threads=count, **settings)

    release_models()
    yield make
    release_models()


def test_vectors_are_those_of_a_team(tiny: Path, in_streams: Callable[..., LocalProvider]):
    expected, _ = embedded(in_streams(tiny, 1), TEXTS)
    provider = in_streams(tiny, 3, batch_size=4)
    vectors, errors = embedded(provider, TEXTS)
    assert (provider.threads, provider.streams, errors) == (3, 3, {})
    assert sorted(vectors) == list(range(len(TEXTS)))
    for index, vector in vectors.items():
        np.testing.assert_allclose(vector, expected[index], atol=1e-5)


def test_many_callers_share_the_streams(
    tiny: Path, in_streams: Callable[..., LocalProvider], monkeypatch: pytest.MonkeyPatch
):
    provider = in_streams(tiny, 2, batch_size=2)
    expected, _ = embedded(provider, TEXTS)
    computing, most, lock = 0, 0, threading.Lock()
    forward = LoadedModel._forward

    def counted(*arguments: object) -> object:
        nonlocal computing, most
        with lock:
            computing += 1
            most = max(most, computing)
        try:
            return forward(*arguments)  # type: ignore[arg-type]
        finally:
            with lock:
                computing -= 1

    monkeypatch.setattr(LoadedModel, "_forward", counted)
    with ThreadPoolExecutor(12) as callers:
        for vectors, errors in callers.map(lambda _: embedded(provider, TEXTS), range(12)):
            assert errors == {}
            for index, vector in vectors.items():
                np.testing.assert_allclose(vector, expected[index], atol=1e-5)
    assert most == 2


def test_a_caller_that_stops_leaves_nothing_behind(
    tiny: Path, in_streams: Callable[..., LocalProvider], monkeypatch: pytest.MonkeyPatch
):
    provider = in_streams(tiny, 2, batch_size=2)
    provider.load()
    begun: list[int] = []
    forward = LoadedModel._forward
    monkeypatch.setattr(LoadedModel, "_forward", lambda *arguments: (begun.append(1), forward(*arguments))[1])
    batches = provider.embed(TEXTS)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    release_models()
    # One was asked for; two for each stream were begun at most.
    assert 1 <= len(begun) <= 6
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("compute-")] == []


FORKED = """
import os, sys, numpy as np
from pathlib import Path
from embedding_assets_tests.support.encoding import embedded, local_provider
provider = local_provider(Path(sys.argv[1]), threads=2, batch_size=2)
texts = [f"{'word ' * (number % 7)}number {number}" for number in range(20)]
expected, _ = embedded(provider, texts)
child = os.fork()
if not child:
    vectors, errors = embedded(provider, texts)
    same = all(np.allclose(vectors[index], expected[index], atol=1e-5) for index in expected)
    os._exit(0 if same and not errors else 1)
assert os.waitpid(child, 0)[1] == 0
"""

INTERRUPTED = """
import sys, threading, _thread
from pathlib import Path
from embedding_assets.encoder.model import LoadedModel
from embedding_assets_tests.support.encoding import embedded, local_provider
provider = local_provider(Path(sys.argv[1]), threads=2, batch_size=1, batch_tokens=64)
provider.load()
forward, begun = LoadedModel._forward, []
def watched(*arguments):
    begun.append(1)
    if len(begun) == 20:
        _thread.interrupt_main()
    return forward(*arguments)
LoadedModel._forward = watched
try:
    embedded(provider, [f"number {number}" for number in range(100_000)])
except KeyboardInterrupt:
    print("stopped after", len(begun), flush=True)
"""


def in_process(code: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_computes_with_threads_of_its_own(tiny: Path):
    in_process(FORKED, tiny)


def test_an_interrupt_ends_the_process(tiny: Path):
    stopped = int(in_process(INTERRUPTED, tiny).split()[-1])
    assert 20 <= stopped < 1000
