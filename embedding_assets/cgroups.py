"""What CPU time this process may use: the CPUs of its affinity mask, and the quota of its cgroups (man 7 cgroups)."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Final

OWN_PROCESS: Final = Path("/proc/self")


def allowed_cpus(process: Path = OWN_PROCESS) -> int:
    """CPUs that this process may keep busy at once: those of its affinity mask, or fewer by quota, rounded up."""
    cpus, quota = len(usable_cpus()), cpu_quota(process)
    return cpus if quota is None else max(1, min(cpus, math.ceil(quota)))


def usable_cpus() -> list[int]:
    """Numbers of the CPUs of this process's affinity mask; all of the machine where there are no masks."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def cpu_quota(process: Path = OWN_PROCESS) -> float | None:
    """CPUs whose time this process may use by its cgroups, the least of all levels; None without a limit."""
    quotas = [
        quota
        for group, read in _groups(process)
        for level in (group, *group.parents)
        if (quota := read(level)) is not None
    ]
    return min(quotas, default=None)


def _groups(process: Path) -> Iterator[tuple[Path, Callable[[Path], float | None]]]:
    """This process's groups that can limit CPU time, each with how to read the limit of a level."""
    try:
        memberships = (process / "cgroup").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        mounts = (process / "mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return  # not Linux
    for membership in memberships:
        _, controllers, path = membership.split(":", 2)
        is_unified = controllers == ""
        if not is_unified and "cpu" not in controllers.split(","):
            continue
        for mount in mounts:
            before, _, after = mount.partition(" - ")
            root, point = before.split()[3:5]
            kind, _, options = after.split(" ", 2)
            if kind == "cgroup2" if is_unified else kind == "cgroup" and "cpu" in options.split(","):
                yield _below(_unescaped(point), _unescaped(root), path), _read_unified if is_unified else _read_legacy
                break


def _below(point: str, root: str, path: str) -> Path:
    """The folder of a group. Seen from within a container its path may begin outside of what is mounted there."""
    group = PurePosixPath(path)
    if ".." in group.parts or not group.is_relative_to(root):
        return Path(point)
    return Path(point) / group.relative_to(root)


def _unescaped(path: str) -> str:
    return path.replace(r"\040", " ").replace(r"\011", "\t").replace(r"\134", "\\")


def _read_unified(level: Path) -> float | None:
    """Of ``cpu.max``: microseconds of CPU time, or ``max``, in a period of microseconds."""
    quota, _, period = _content(level / "cpu.max").partition(" ")
    return _ratio(quota, period or "100000")


def _read_legacy(level: Path) -> float | None:
    return _ratio(_content(level / "cpu.cfs_quota_us"), _content(level / "cpu.cfs_period_us"))


def _ratio(quota: str, period: str) -> float | None:
    """None where there is no limit: the files are absent, or say ``max`` or -1."""
    if not (quota.isdecimal() and period.isdecimal() and int(quota) and int(period)):
        return None
    return int(quota) / int(period)


def _content(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
