"""How many threads compute: affinity, quotas of nested groups, variables, what the process has chosen itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from embedding_assets.config import get_settings
from embedding_assets.encoder import threads
from embedding_assets.encoder.threads import Threads, available_threads
from embedding_assets.errors import ConfigurationError
from embedding_assets_tests.support.groups import UNIFIED, Groups, groups

__all__ = ["groups"]

CORES = len(os.sched_getaffinity(0))


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    threads._warn.cache_clear()  # of tests before


def test_elsewhere_than_on_linux(tmp_path: Path):
    assert available_threads(process=tmp_path, processors=tmp_path) == Threads(CORES, "cores")


@pytest.mark.parametrize(
    ("quota", "count"), [("10000 100000", 1), ("100000 100000", 1), ("110000 100000", 2), ("6400000 100000", CORES)]
)
def test_quotas_are_rounded_up_to_threads(quota: str, count: int, groups: Groups, tmp_path: Path):
    process = groups.describe("0::/a\n", UNIFIED)
    groups.limit("a", cpu__max=quota)
    assert available_threads(process=process, processors=tmp_path).count == min(count, CORES)


@pytest.mark.skipif(CORES < 2, reason="needs two processors")
def test_hardware_threads_of_one_core_count_once(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    first, second = sorted(os.sched_getaffinity(0))[:2]
    for processor in (first, second):
        topology = tmp_path / f"cpu{processor}" / "topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(f"{first}-{second}\n")
    assert available_threads(process=tmp_path, processors=tmp_path).count == CORES - 1
    # More than that may be asked for, up to what can run at once.
    assert available_threads(CORES, process=tmp_path, processors=tmp_path).count == CORES
    assert caplog.messages == []
    assert available_threads(CORES + 1, process=tmp_path, processors=tmp_path).count == CORES
    assert f"has CPUs for: {CORES} are taken" in caplog.text


@pytest.mark.parametrize(
    ("value", "count"), [("3", 3), ("5,2", 5), (" 2 ", 2), ("0", None), ("", None), ("many", None)]
)
def test_openmps_variable(value: str, count: int | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    expected = Threads(min(count, CORES), "OMP_NUM_THREADS") if count else Threads(CORES, "cores")
    assert available_threads(process=tmp_path, processors=tmp_path) == expected


def test_the_setting_decides_up_to_what_there_are_cores_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert available_threads(1, process=tmp_path) == Threads(1, "EMBEDDING_THREADS")
    assert caplog.messages == []
    assert available_threads(999, process=tmp_path, processors=tmp_path) == Threads(CORES, "EMBEDDING_THREADS")
    assert available_threads(999, process=tmp_path, processors=tmp_path).count == CORES
    assert len(caplog.messages) == 1  # though a process counts its threads more than once
    assert f"EMBEDDING_THREADS=999 is more than this process has CPUs for: {CORES} are taken" in caplog.text
    monkeypatch.setenv("OMP_NUM_THREADS", "999")
    assert available_threads(process=tmp_path, processors=tmp_path) == Threads(CORES, "OMP_NUM_THREADS")
    assert "OMP_NUM_THREADS=999 is more than this process has CPUs for" in caplog.text


@pytest.mark.parametrize("value", ["0", "-1", "two", "1025"])
def test_the_setting_is_checked(value: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EMBEDDING_THREADS", value)
    with pytest.raises(ConfigurationError, match="EMBEDDING_THREADS"):
        get_settings()


def in_process(code: str, affinity: set[int] | None = None, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**{name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}, **variables},
        preexec_fn=(lambda: os.sched_setaffinity(0, affinity)) if affinity else None,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout.strip()


USE = "from embedding_assets.encoder.threads import use_available_threads as use; import torch; "


def test_a_process_bound_to_one_core():
    code = "from embedding_assets.encoder.threads import available_threads; print(available_threads().count)"
    assert in_process(code, {min(os.sched_getaffinity(0))}) == "1"


def test_torch_computes_with_that_many_in_threads_to_come_as_well():
    code = USE + (
        "from embedding_assets.encoder.threads import in_new_thread; "
        "print(use(1).count, torch.get_num_threads(), in_new_thread(torch.get_num_threads))"
    )
    assert in_process(code) == "1 1 1"


def test_a_process_that_has_given_torch_fewer_keeps_them():
    code = USE + "torch.set_num_threads(1); print(use().count, torch.get_num_threads(), use(2).count)"
    assert in_process(code) == f"1 1 {min(2, CORES)}"


def test_one_thread_alone_computes_with_fewer():
    code = USE + (
        "from embedding_assets.encoder.threads import compute_with, in_new_thread; torch.set_num_threads(4); "
        "print(in_new_thread(lambda: (compute_with(1), torch.get_num_threads())[1]), torch.get_num_threads(), "
        "in_new_thread(torch.get_num_threads))"
    )
    assert in_process(code) == "1 4 4"
