"""How many threads compute: affinity, quotas of nested groups, variables, what the process has chosen itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from embedding_assets.config import get_settings
from embedding_assets.encoder.threads import Threads, available_threads, cgroup_quota
from embedding_assets.errors import ConfigurationError

CORES = len(os.sched_getaffinity(0))


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


class Groups:
    """A process's description whose groups are folders of the test's."""

    def __init__(self, folder: Path) -> None:
        self.process = folder / "self"
        self.mount = folder / "mounted here"
        self.process.mkdir()
        self.mount.mkdir()

    def describe(self, memberships: str, *mounts: str) -> Path:
        (self.process / "cgroup").write_text(memberships)
        point = str(self.mount).replace(" ", r"\040")
        (self.process / "mountinfo").write_text("".join(mount.format(point=point) + "\n" for mount in mounts))
        return self.process

    def limit(self, group: str, **values: str) -> None:
        folder = self.mount / group
        folder.mkdir(parents=True, exist_ok=True)
        for name, value in values.items():
            (folder / name.replace("__", ".")).write_text(value + "\n")


@pytest.fixture
def groups(tmp_path: Path) -> Groups:
    return Groups(tmp_path)


OTHER = "22 1 0:20 / /proc rw,nosuid shared:1 - proc proc rw"
UNIFIED = "31 23 0:28 / {point} rw,relatime shared:9 - cgroup2 cgroup2 rw"
LEGACY = "32 23 0:29 / {point} rw,relatime - cgroup cgroup rw,cpu,cpuacct"
LEGACY_SETS = "33 23 0:30 / /nowhere rw,relatime - cgroup cgroup rw,cpuset"


@pytest.mark.parametrize(
    ("levels", "quota"),
    [
        ({"": "max 100000", "a": "max 100000", "a/b": "max 100000"}, None),
        ({}, None),
        ({"a/b": "200000 100000"}, 2.0),
        ({"a/b": "150000 100000"}, 1.5),
        ({"a": "150000 100000", "a/b": "400000 100000"}, 1.5),
        ({"": "50000 100000", "a": "max 100000", "a/b": "400000 100000"}, 0.5),
        ({"a/b": "800000 50000"}, 16.0),
        ({"a/b": "300000"}, 3.0),
        ({"a/b": ""}, None),
        ({"a/b": "rubbish here"}, None),
        ({"a/b/c": "100000 100000"}, None),
    ],
)
def test_the_least_of_all_levels_of_one_hierarchy(levels: dict[str, str], quota: float | None, groups: Groups):
    process = groups.describe("0::/a/b\n", OTHER, UNIFIED)
    for group, value in levels.items():
        groups.limit(group, cpu__max=value)
    assert cgroup_quota(process) == quota


@pytest.mark.parametrize(
    ("levels", "quota"),
    [
        ({"a/b": ("-1", "100000")}, None),
        ({"a/b": ("250000", "100000")}, 2.5),
        ({"a": ("100000", "100000"), "a/b": ("-1", "100000")}, 1.0),
    ],
)
def test_a_hierarchy_of_the_cpu_controller_alone(
    levels: dict[str, tuple[str, str]], quota: float | None, groups: Groups
):
    process = groups.describe("4:cpuset:/\n3:cpu,cpuacct:/a/b\n1:name=systemd:/x\n0::/x\n", LEGACY_SETS, LEGACY)
    for group, (limit, period) in levels.items():
        groups.limit(group, cpu__cfs_quota_us=limit, cpu__cfs_period_us=period)
    assert cgroup_quota(process) == quota


def test_both_kinds_at_once(groups: Groups):
    process = groups.describe("3:cpu:/a\n0::/a\n", LEGACY, UNIFIED)
    groups.limit("a", cpu__max="300000 100000", cpu__cfs_quota_us="200000", cpu__cfs_period_us="100000")
    assert cgroup_quota(process) == 2


@pytest.mark.parametrize(
    ("path", "root"),
    [("/docker/abc", "/docker/abc"), ("/", "/"), ("/../../elsewhere", "/"), ("/not/below", "/docker/abc")],
)
def test_seen_from_within_a_container(path: str, root: str, groups: Groups):
    process = groups.describe(f"0::{path}\n", UNIFIED.replace(" / {point}", f" {root} {{point}}"))
    groups.limit("", cpu__max="150000 100000")
    assert cgroup_quota(process) == 1.5


def test_elsewhere_than_on_linux(tmp_path: Path):
    assert cgroup_quota(tmp_path / "absent") is None
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
    # More than that is allowed, and what is said counts what can run at once.
    assert available_threads(CORES, process=tmp_path, processors=tmp_path).count == CORES
    assert caplog.messages == []
    available_threads(CORES + 1, process=tmp_path, processors=tmp_path)
    assert f"has CPUs for ({CORES})" in caplog.text


@pytest.mark.parametrize(
    ("value", "count"), [("3", 3), ("5,2", 5), (" 2 ", 2), ("0", None), ("", None), ("many", None)]
)
def test_openmps_variable(value: str, count: int | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    expected = Threads(count, "OMP_NUM_THREADS") if count else Threads(CORES, "cores")
    assert available_threads(process=tmp_path, processors=tmp_path) == expected


def test_the_setting_decides_and_more_than_there_are_cores_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert available_threads(1, process=tmp_path) == Threads(1, "EMBEDDING_THREADS")
    assert caplog.messages == []
    assert available_threads(CORES + 1, process=tmp_path, processors=tmp_path) == Threads(
        CORES + 1, "EMBEDDING_THREADS"
    )
    assert f"EMBEDDING_THREADS={CORES + 1} is more than this process has CPUs for ({CORES})" in caplog.text


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
        "print(use(3).count, torch.get_num_threads(), in_new_thread(torch.get_num_threads))"
    )
    assert in_process(code) == "3 3 3"


def test_a_process_that_has_given_torch_fewer_keeps_them():
    code = USE + "torch.set_num_threads(1); print(use().count, torch.get_num_threads(), use(2).count)"
    assert in_process(code) == "1 1 2"


def test_one_thread_alone_computes_with_fewer():
    code = USE + (
        "from embedding_assets.encoder.threads import compute_with, in_new_thread; torch.set_num_threads(4); "
        "print(in_new_thread(lambda: (compute_with(1), torch.get_num_threads())[1]), torch.get_num_threads(), "
        "in_new_thread(torch.get_num_threads))"
    )
    assert in_process(code) == "1 4 4"
