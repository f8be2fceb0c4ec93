"""CPU time by affinity and by the quotas of nested groups, of both versions."""

from pathlib import Path

import pytest

from embedding_assets.cgroups import allowed_cpus, cpu_quota, usable_cpus
from embedding_assets_tests.support.groups import LEGACY, LEGACY_SETS, OTHER, UNIFIED, Groups, groups

__all__ = ["groups"]


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
    assert cpu_quota(process) == quota


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
    assert cpu_quota(process) == quota


def test_both_kinds_at_once(groups: Groups):
    process = groups.describe("3:cpu:/a\n0::/a\n", LEGACY, UNIFIED)
    groups.limit("a", cpu__max="300000 100000", cpu__cfs_quota_us="200000", cpu__cfs_period_us="100000")
    assert cpu_quota(process) == 2


@pytest.mark.parametrize(
    ("path", "root"),
    [("/docker/abc", "/docker/abc"), ("/", "/"), ("/../../elsewhere", "/"), ("/not/below", "/docker/abc")],
)
def test_seen_from_within_a_container(path: str, root: str, groups: Groups):
    process = groups.describe(f"0::{path}\n", UNIFIED.replace(" / {point}", f" {root} {{point}}"))
    groups.limit("", cpu__max="150000 100000")
    assert cpu_quota(process) == 1.5


def test_elsewhere_than_on_linux(tmp_path: Path):
    assert cpu_quota(tmp_path / "absent") is None
    assert allowed_cpus(tmp_path) == len(usable_cpus())


@pytest.mark.parametrize(("quota", "cpus"), [("10000 100000", 1), ("110000 100000", 2), ("6400000 100000", 64)])
def test_cpus_by_quota_are_rounded_up(quota: str, cpus: int, groups: Groups):
    process = groups.describe("0::/a\n", UNIFIED)
    groups.limit("a", cpu__max=quota)
    assert allowed_cpus(process) == min(cpus, len(usable_cpus()))
