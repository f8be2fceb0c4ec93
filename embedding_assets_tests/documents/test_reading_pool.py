"""Processes that read files: what they make, and what becomes of those that crash, hang or want too much."""

import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from embedding_assets.documents import reading_pool
from embedding_assets.documents.file_reading import Share, read_portions
from embedding_assets.documents.formats.options import ReadOptions
from embedding_assets.documents.reading_pool import ProcessesUnavailableError, ReadingPool
from embedding_assets.documents.rejection import Rejection
from embedding_assets.documents.splitting import Splitter

SECRET = "a secret of the document"

# Python runs it as it starts: plain text reads as before, unless it says what is to happen.
SABOTAGE = """
import ctypes, logging, os, signal, time, weakref
import embedding_assets.documents.formats.plain_text as reader

read = reader.read

class Cycle:
    def __init__(self, size):
        self.itself = self
        self.content = bytearray(size)

cycles = weakref.WeakSet()

def spoiled(file):
    text = file.path.read_text()
    if "CRASH" in text:
        ctypes.string_at(0)
    if "KILLED" in text:
        os.kill(os.getpid(), signal.SIGKILL)
    if "EXIT" in text:
        print(text, flush=True)
        os._exit(3)
    if "HANG" in text:
        time.sleep(600)
    if "MEMORY" in text:
        bytearray(4 << 30)
    if "HOARDS" in text:
        Cycle(700 << 20)
    if "CYCLE" in text:
        logging.getLogger("embedding_assets.documents.spoiled").warning("%d cycles", len(cycles))
        cycles.add(Cycle(0))
    if "WARNS" in text:
        logging.getLogger("embedding_assets.documents.spoiled").warning("a remark")
    yield from read(file)

reader.read = spoiled
"""


@pytest.fixture
def sabotage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(SABOTAGE)
    monkeypatch.syspath_prepend(folder)


@pytest.fixture
def pool(splitter: Splitter):
    made = ReadingPool(splitter, ReadOptions(), 2)
    yield made
    made.close()


def texts_of(portions) -> list[str]:
    return [str(one) if isinstance(one, Rejection) else one.chunk_text for portion in portions for one in portion]


def write(folder: Path, **texts: str) -> dict[str, Path]:
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text(text)
    return {name: folder / f"{name}.txt" for name in texts}


def read_all(pool: ReadingPool, files: dict[str, Path]) -> dict[str, list[str]]:
    for name, path in files.items():
        pool.announce(path, name, path.stat().st_size)
    return {name: texts_of(pool.read(path, name, path.stat().st_size)) for name, path in files.items()}


def test_chunks_are_those_that_this_process_makes(pool, splitter, tmp_path):
    path = tmp_path / "guide.md"
    path.write_text("# Guide\n\n" + "\n\n".join(f"## Part {n}\n\n{'A sentence. ' * 40}" for n in range(30)))
    here = [one for portion in read_portions(path, "guide.md", ReadOptions(), splitter) for one in portion]
    there = [one for portion in pool.read(path, "guide.md", 0) for one in portion]
    assert len(here) > 30
    assert there == here


def test_a_large_answer_arrives_whole_among_small_ones(pool, splitter, tmp_path):
    texts = {f"n{n}": f"text {n}" for n in range(20)} | {"large": "größer " * 120_000}
    files = write(tmp_path, **texts)
    found = read_all(pool, files)
    assert {name: found[name] for name in files if name != "large"} == {f"n{n}": [f"text {n}"] for n in range(20)}
    assert found["large"] == texts_of(read_portions(files["large"], "large", ReadOptions(), splitter))


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_shares_of_rows_are_all_rows(pool, splitter, tmp_path, suffix):
    path = tmp_path / f"rows.{suffix}"
    rows = [{"id": n, "text": f"row {n}"} for n in range(1000)]
    if suffix == "csv":
        path.write_text("id,text\n" + "".join(f"{row['id']},{row['text']}\n" for row in rows) + "7,x,too many\n")
    else:
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows) + "no JSON\n")
    here = [one for portion in read_portions(path, "rows", ReadOptions(), splitter) for one in portion]
    there = [one for portion in pool.read(path, "rows", 0, shares=3) for one in portion]
    key = lambda one: (isinstance(one, Rejection), getattr(one, "chunk_hash", ""))  # noqa: E731
    assert len(here) == 1001
    assert sorted(there, key=key) == sorted(here, key=key)


def test_each_row_is_in_one_share():
    shares = [Share(number, 3) for number in range(3)]
    assert all(sum(share.has(index) for share in shares) == 1 for index in range(1000))


@pytest.mark.usefixtures("sabotage")
@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("CRASH", "ended the process that read it (SIGSEGV)"),
        ("KILLED", "ended the process that read it (SIGKILL, as where memory is short)"),
        ("EXIT", "ended the process that read it (exit status 3)"),
        ("MEMORY", "takes more memory than the reading of a file may"),
    ],
)
def test_a_file_that_ends_its_process_is_rejected_and_the_others_are_read(pool, tmp_path, what, reason):
    texts = {f"n{n}": f"text {n}" for n in range(40)} | dict.fromkeys(("n7", "n8"), f"{what} {SECRET}")
    files = write(tmp_path, **texts)
    found = read_all(pool, files)
    bad = {"n7", "n8"}
    assert {name: found[name] for name in bad} == {name: [f"{name}: {reason}"] for name in bad}
    assert all(found[f"n{n}"] == [f"text {n}"] for n in range(40) if f"n{n}" not in bad)


@pytest.mark.usefixtures("sabotage")
def test_memory_that_other_files_hold_in_cycles_costs_no_file(pool, tmp_path):
    texts = {f"n{n}": f"HOARDS {n}" for n in range(6)}
    found = read_all(pool, write(tmp_path, **texts))
    assert found == {name: [text] for name, text in texts.items()}


@pytest.mark.usefixtures("sabotage")
def test_cycles_are_collected_by_what_was_read(pool, tmp_path, caplog):
    files = write(tmp_path, small="CYCLE", large="CYCLE" + "\n" * 5_000_000, last="CYCLE")
    for name, path in files.items():
        list(pool.read(path, name, path.stat().st_size))
    assert [record.getMessage() for record in caplog.records] == ["0 cycles", "1 cycles", "0 cycles"]


@pytest.mark.usefixtures("sabotage")
def test_a_file_that_takes_too_long_is_rejected_and_the_others_are_read(pool, tmp_path, monkeypatch):
    monkeypatch.setattr(reading_pool, "FILE_SECONDS", 2.0)
    files = write(tmp_path, before="before", slow=f"HANG {SECRET}", after="after")
    found = read_all(pool, files)
    assert found == {
        "before": ["before"],
        "slow": ["slow: takes longer than 2 seconds to read"],
        "after": ["after"],
    }


@pytest.mark.covered_processes
@pytest.mark.usefixtures("sabotage")
def test_log_of_the_processes_comes_here(pool, tmp_path, caplog):
    read_all(pool, write(tmp_path, one="WARNS"))
    assert [(record.name, record.getMessage()) for record in caplog.records] == [
        ("embedding_assets.documents.spoiled", "a remark")
    ]


def test_processes_that_cannot_start_are_said(splitter, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    pool = ReadingPool(splitter, ReadOptions(), 2)
    files = write(tmp_path, one="text")
    with pytest.raises(ProcessesUnavailableError):
        read_all(pool, files)
    pool.close()


def test_answers_that_are_not_taken_are_bounded(pool, tmp_path, monkeypatch):
    monkeypatch.setattr(reading_pool, "_WAITING_BYTES", 200_000)
    files = write(tmp_path, **{f"n{n}": f"{n} words of text. " * 3000 for n in range(40)})
    for name, path in files.items():
        pool.announce(path, name, path.stat().st_size)
    most = 0
    for name, path in files.items():
        for _ in pool.read(path, name, 0):
            most = max(most, pool._waiting)
    assert 0 < most < 2_000_000


def test_closing_ends_processes_at_work(pool, tmp_path):
    files = write(tmp_path, **{f"n{n}": f"{n} words of text. " * 300_000 for n in range(4)})
    for name, path in files.items():
        pool.announce(path, name, path.stat().st_size)
    children = [child for child in psutil.Process().children() if "reading_process" in " ".join(child.cmdline())]
    assert len(children) == 2
    pool.close()
    assert not any(child.is_running() for child in children)


@pytest.mark.usefixtures("sabotage")
def test_processes_end_with_the_one_that_started_them(settings, tmp_path):
    write(tmp_path, slow="HANG")
    # No guard around it: such a script is no module that others might import.
    script = textwrap.dedent(f"""
        import sys, psutil
        from pathlib import Path
        from embedding_assets.config import get_settings
        from embedding_assets.documents.formats.options import ReadOptions
        from embedding_assets.documents.loading import configured_splitter
        from embedding_assets.documents.reading_pool import ReadingPool
        from embedding_assets.postgres.bootstrap import open_database
        settings = get_settings()
        with open_database(settings) as database:
            pool = ReadingPool(configured_splitter(settings, database), ReadOptions(), 1)
            pool.announce(Path({str(tmp_path / "slow.txt")!r}), "slow", 1)
            print([child.pid for child in psutil.Process().children()][0], flush=True)
            list(pool.read(Path({str(tmp_path / "slow.txt")!r}), "slow", 1))
    """)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        process.stdin.write(script)
        process.stdin.close()
        child = psutil.Process(int(process.stdout.readline()))
        process.kill()
    deadline = time.monotonic() + 180
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
