"""Threads that compute: several batches side by side, a team for one that is alone, nothing that is not wanted."""

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from embedding_assets.encoder import streams
from embedding_assets.encoder.streams import GivenUpError, Streams, check_wanted, streams_suit


@pytest.fixture
def computing() -> Iterator[Streams]:
    made = Streams(3)
    yield made
    made.close()


def thread() -> tuple[str, int]:
    return threading.current_thread().name.rpartition("_")[0], torch.get_num_threads()


def names(computing: Streams, *, side_by_side: bool, alone: bool) -> tuple[str, int]:
    noted: list[tuple[str, int]] = []

    def work() -> torch.Tensor:
        noted.append(thread())
        return torch.zeros(1)

    computing.submit(work, side_by_side=side_by_side, alone=alone).result()
    return noted[0]


def test_who_computes(computing: Streams):
    assert names(computing, side_by_side=True, alone=False) == ("compute-stream", 1)
    assert names(computing, side_by_side=True, alone=True) == ("compute-team", 3)
    assert names(computing, side_by_side=False, alone=False) == ("compute-team", 3)


def test_as_many_at_once_as_there_are_threads_and_who_waits_for_one_goes_before_the_others(computing: Streams):
    go, started = threading.Event(), threading.Semaphore(0)

    def work() -> torch.Tensor:
        started.release()
        assert go.wait(180)
        return torch.zeros(1)

    first = [computing.submit(work, side_by_side=True, alone=False) for _ in range(2)]
    assert names(computing, side_by_side=True, alone=True) == ("compute-stream", 1)
    rest = [computing.submit(work, side_by_side=True, alone=False) for _ in range(6)]
    for _ in range(3):
        assert started.acquire(timeout=180)
    assert not started.acquire(timeout=0.05)
    assert names(computing, side_by_side=True, alone=True) == ("compute-urgent", 1)
    go.set()
    for computation in first + rest:
        computation.result()
    assert names(computing, side_by_side=True, alone=True) == ("compute-team", 3)


def test_who_has_a_result_is_alone_again(computing: Streams, monkeypatch: pytest.MonkeyPatch):
    done = Streams._done
    monkeypatch.setattr(Streams, "_done", lambda *arguments: (time.sleep(0.05), done(*arguments))[1])
    for side_by_side, alone in ((True, False), (False, False), (True, True)):
        names(computing, side_by_side=side_by_side, alone=alone)
        assert names(computing, side_by_side=side_by_side, alone=True) == ("compute-team", 3)


def test_what_is_given_up_counts_no_more(computing: Streams):
    go = threading.Event()

    def work() -> torch.Tensor:
        assert go.wait(180)
        return torch.zeros(1)

    running, waiting = (computing.submit(work, side_by_side=False, alone=False) for _ in range(2))
    waiting.give_up()
    go.set()
    running.result()
    assert names(computing, side_by_side=False, alone=True) == ("compute-team", 3)


def test_given_up_before_it_begins_and_between_layers(computing: Streams):
    begun, given_up = threading.Event(), threading.Event()
    layers: list[int] = []

    def work() -> torch.Tensor:
        begun.set()
        assert given_up.wait(180)
        check_wanted()
        layers.append(1)
        return torch.zeros(1)

    running = computing.submit(work, side_by_side=False, alone=False)
    waiting = computing.submit(work, side_by_side=False, alone=False)
    assert begun.wait(180)
    for computation in (running, waiting):
        computation.give_up()
    given_up.set()
    with pytest.raises(GivenUpError):
        running.result()
    assert waiting.future is not None
    assert waiting.future.cancelled()
    assert layers == []
    # What comes next is not given up.
    assert names(computing, side_by_side=False, alone=False)[0] == "compute-team"


@pytest.mark.parametrize(
    ("together", "apart", "suits"), [(100.0, 120.0, True), (100.0, 98.0, True), (100.0, 60.0, False)]
)
def test_what_multiplies_faster(together: float, apart: float, suits: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(streams, "_rates", lambda *_: (together, apart))
    streams_suit.cache_clear()
    assert streams_suit(4, "float32") is suits
    assert streams_suit(1, "float32") is False
    streams_suit.cache_clear()


def test_this_machine_is_measured():
    together, apart = streams._rates(2, "float32")
    assert 0.02 < together / apart < 50
    streams.end_streams()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("compute-")]


def test_what_is_asked_for_while_streams_end_is_computed():
    stopped = threading.Event()

    def end_again_and_again() -> None:
        while not stopped.is_set():
            streams.end_streams()

    ending = threading.Thread(target=end_again_and_again)
    ending.start()
    try:
        computations = [
            streams.compute(lambda: torch.ones(1), 2, side_by_side=True, alone=number % 2 == 0) for number in range(300)
        ]
        assert all(computation.result().item() == 1 for computation in computations)
    finally:
        stopped.set()
        ending.join()
        streams.end_streams()
