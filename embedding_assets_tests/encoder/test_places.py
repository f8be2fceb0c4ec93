"""Processes spread over equal devices, and what a process leaves behind when it is killed."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from embedding_assets.encoder import places
from embedding_assets.encoder.places import freest

TAKE = """
import sys
from pathlib import Path
from embedding_assets.encoder.places import freest
devices, folder = sys.argv[1].split(","), Path(sys.argv[2])
print(freest(devices, folder=folder), freest(devices, folder=folder), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Callable[[str], tuple[str, subprocess.Popen[str]]]]:
    started: list[subprocess.Popen[str]] = []

    def start(devices: str) -> tuple[str, subprocess.Popen[str]]:
        one = subprocess.Popen(
            [sys.executable, "-c", TAKE, devices, str(tmp_path / "locks")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(one)
        assert one.stdout is not None
        return one.stdout.readline().strip(), one

    yield start
    for one in started:
        one.kill()
        one.communicate()


def test_each_takes_the_device_with_the_fewest_and_keeps_it(
    process: Callable[[str], tuple[str, subprocess.Popen[str]]],
):
    taken = [process("a,b") for _ in range(5)]
    assert [answer for answer, _ in taken] == ["0 0", "1 1", "0 0", "1 1", "0 0"]
    _, second = taken[1]
    second.kill()
    second.communicate()
    assert process("a,b")[0] == "1 1"


def test_devices_are_known_by_name_whatever_their_order(process: Callable[[str], tuple[str, subprocess.Popen[str]]]):
    assert process("a,b")[0] == "0 0"
    assert process("b,a")[0] == "0 0"  # b is free
    assert process("b")[0] == "0 0"


def test_where_no_lock_can_be_had(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "file").write_text("")
    assert freest(["x", "y"], folder=tmp_path / "file" / "below") == 0
    assert "the first is taken" in caplog.text
    assert ("x", "y") not in places._taken
