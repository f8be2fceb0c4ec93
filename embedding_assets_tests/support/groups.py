"""Cgroups as the kernel describes them, in a folder of the test's."""

from pathlib import Path

import pytest

OTHER = "22 1 0:20 / /proc rw,nosuid shared:1 - proc proc rw"
UNIFIED = "31 23 0:28 / {point} rw,relatime shared:9 - cgroup2 cgroup2 rw"
LEGACY = "32 23 0:29 / {point} rw,relatime - cgroup cgroup rw,cpu,cpuacct"
LEGACY_SETS = "33 23 0:30 / /nowhere rw,relatime - cgroup cgroup rw,cpuset"


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
