"""Reading and splitting files of six formats, beside LangChain's and LlamaIndex's; very many and very large ones.

All texts are real: sections of the documentation that this environment carries, drawn at random, always the same ones.
Three parts, each with a result of its own: ``formats`` compares what reads and splits the same files with the same
tokenizer and the same size of chunks; ``many`` compares loading 100,000 small files with only reading them; ``large``
loads a folder and a file of rows and watches the memory. The last two fill an embedded PostgreSQL of the benchmark's
own. Run: make bench-load
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from environments import PeerUnavailableError, peer_python
from inputs import ARTICLE_FORMATS, write_articles, write_embedded_rows, write_illustrated, write_rows
from report import Aim, Result, Row, interleave, print_result, publish
from servers import own_server
from texts import demo_model_folder
from workers import Worker

from embedding_assets.cgroups import allowed_cpus
from embedding_assets.config import get_settings
from embedding_assets.formatting import counted

ARTICLE_CHARACTERS = 6_000
ILLUSTRATED_CHARACTERS, PICTURE_BYTES = 10_000, 390_000
VECTOR_DIMENSIONS = 1_536
SMALL_FILE_CHARACTERS = 1
LIMIT_MB = 500
TIMES_READING = 5

TITLES = {"markdown": "Markdown", "html": "HTML", "pdf": "PDF", "docx": "DOCX", "csv": "CSV", "jsonl": "JSONL"}
ROWS = ("csv", "jsonl")
OURS = "embedding_assets"
NICENESS = 5
PEERS = {
    "langchain_loaders": "LangChain: loader, RecursiveCharacterTextSplitter",
    "llamaindex_loaders": "LlamaIndex: reader, SentenceSplitter",
}


@dataclass(frozen=True)
class Sizes:
    """How much is read: megabytes of text in each format, small files, gigabytes of a folder and of a file."""

    formats_mb: dict[str, float]
    files: int
    folder_gb: float
    rows_gb: float


USUAL = Sizes({"markdown": 2, "html": 2, "pdf": 0.4, "docx": 0.4, "csv": 2, "jsonl": 2}, 100_000, 2, 1)
SMALL = Sizes(dict.fromkeys(TITLES, 0.2), 1_000, 0.02, 0.02)
WARM_MB = 0.01


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts: dict[str, Callable[[Path, Sizes, int], Result]] = {"formats": formats, "many": many, "large": large}
    parser.add_argument("--part", choices=list(parts), action="append", help="default: all; repeatable")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="a quick try, whose results are not kept")
    arguments = parser.parse_args()
    for name in arguments.part or parts:
        folder = Path(tempfile.mkdtemp(prefix="ea-bench-"))
        try:
            result = parts[name](folder, SMALL if arguments.small else USUAL, arguments.rounds)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        (print_result if arguments.small else publish)(result)


def formats(folder: Path, sizes: Sizes, rounds: int) -> Result:
    """The same texts in six formats, read and split by each way in turn."""
    written = {name: write(folder / name, name, sizes.formats_mb[name]) for name in TITLES}
    for name in TITLES:
        write(folder / "warm" / name, name, WARM_MB)
    job: dict[str, object] = {
        "folder": str(folder),
        "tokenizer": str(demo_model_folder() / "tokenizer.json"),
        "chunk_tokens": get_settings().embedding.chunk_tokens,
    }
    refused: dict[str, str] = {}
    with ExitStack() as stack:
        note("starting: embedding_assets")
        workers = {"load_ours": stack.enter_context(Worker("load_ours", {**job, "niceness": 0}))}
        # As the processes that load_ours starts: what else runs on the machine then slows all of them alike.
        job["niceness"] = NICENESS
        workers["alone"] = stack.enter_context(Worker("load_ours", job))
        for name, label in PEERS.items():
            note(f"starting: {label}")
            try:
                workers[name] = stack.enter_context(Worker(name, job, python=peer_python(name)))
            except PeerUnavailableError as error:
                refused[name] = str(error)
                note(f"  {error}")

        def timed(name: str, command: str) -> Callable[[], float]:
            text_bytes = written[command][1]

            def run() -> float:
                answer = workers[name].run(command)
                chunks[f"{name} {command}"] = answer["chunks"]
                return float(text_bytes / 1e6 / answer["seconds"])

            return run

        values: dict[str, list[float]] = {}
        chunks: dict[str, dict[str, int]] = {}
        for format_ in TITLES:
            values |= interleave({f"{name} {format_}": timed(name, format_) for name in workers}, rounds)
        facts = {name: worker.facts for name, worker in workers.items()}
    rows = [row for name in TITLES for row in format_rows(name, written[name], values, chunks, refused)]
    return Result(
        name="load",
        title="Files of six formats, read and split",
        unit="MB of text/s",
        rows=rows,
        aims=[],
        facts={
            "files": {
                title: f"{counted(written[name][0], 'row' if name in ROWS else 'document')}, "
                f"{written[name][1] / 1e6:.1f} MB of text"
                for name, title in TITLES.items()
            },
            "texts": "sections of the installed documentation, drawn at random",
            "rounds": rounds,
            "chunks": f"at most {job['chunk_tokens']} tokens, the special ones included, without overlap",
            "processes": f"one; {OURS} as many as it starts by itself, at most {allowed_cpus()}",
            **{
                f"versions ({name})": ", ".join(f"{package} {at}" for package, at in one["versions"].items())
                for name, one in facts.items()
                if name != "alone"
            },
        },
    )


def format_rows(
    format_: str,
    written: tuple[int, int],
    values: dict[str, list[float]],
    chunks: dict[str, dict[str, int]],
    refused: dict[str, str],
) -> list[Row]:
    """All ways to read one format, which are compared with one another."""
    documents, text_bytes = written

    def row(name: str, label: str, *, ours: bool = False) -> Row:
        rates = values.get(f"{name} {format_}", [])
        if not rates:
            return Row(f"{TITLES[format_]}: {label}", [], note=refused[name], group=format_)
        speed = documents / text_bytes * 1e6 * statistics.median(rates)
        words = f"{speed:,.0f} {'rows' if format_ in ROWS else 'documents'}/s"
        note = f"{words}, {chunks_note(chunks[f'{name} {format_}'])}"
        return Row(f"{TITLES[format_]}: {label}", rates, note=note, ours=ours, group=format_)

    return [
        *(row(name, label) for name, label in PEERS.items()),
        row("alone", f"{OURS}, in one process"),
        row("load_ours", OURS, ours=True),
    ]


def chunks_note(chunks: dict[str, int]) -> str:
    """How many chunks came out, and how long they are."""
    mean = chunks["tokens"] / chunks["count"]
    return f"{chunks['count']:,} chunks of {mean:.0f} tokens, the longest {chunks['most tokens']:,}"


def write(folder: Path, format_: str, megabytes: float) -> tuple[int, int]:
    """Write files of a format; documents or rows, and bytes of text."""
    note(f"writing {megabytes:g} MB of text as {TITLES[format_]}")
    text_bytes = round(megabytes * 1e6)
    if format_ in ARTICLE_FORMATS:
        return write_articles(folder, format_, ARTICLE_CHARACTERS, text_bytes=text_bytes)
    return write_rows(folder, format_, text_bytes)


def many(folder: Path, sizes: Sizes, rounds: int) -> Result:
    """Very many small files: only read, loaded, and loaded again as they are."""
    note(f"writing {sizes.files:,} files")
    files, text_bytes = write_articles(folder / "many", "markdown", SMALL_FILE_CHARACTERS, files=sizes.files)
    chunks = 0
    with table_worker(folder / "many") as worker:

        def timed(command: str) -> Callable[[], float]:
            def run() -> float:
                nonlocal chunks
                answer = worker.run(command)
                chunks = answer["chunks"]
                seconds: float = answer["seconds"]
                return seconds

            return run

        worker.run("read")  # from here on all files are in the page cache
        # In this order a round never loads again what is not there.
        values = interleave({name: timed(name) for name in ("read", "load", "again")}, rounds)
    reading, loading, again = (statistics.median(values[name]) for name in ("read", "load", "again"))
    rate = f"{files / loading:,.0f} files/s"
    return Result(
        name="load_many",
        title=f"{files:,} small files into the table",
        unit="s",
        rows=[
            Row("only reading them", values["read"], note="rglob, read_text, in one process; in the page cache"),
            Row(f"{OURS}: loading them", values["load"], note=f"{chunks:,} chunks stored, {rate}", ours=True),
            Row(f"{OURS}: loading them again, unchanged", values["again"], note="nothing to store", ours=True),
        ],
        aims=[
            Aim("times only reading them, for the first load", loading / reading, TIMES_READING, at_most=True),
            Aim("times only reading them, for another one", again / reading, TIMES_READING, at_most=True),
        ],
        facts={"files": files, "mean bytes": round(text_bytes / files), "rounds": rounds},
        lower_is_better=True,
    )


def large(folder: Path, sizes: Sizes, _rounds: int) -> Result:
    """A large folder and a large file of rows, each loaded once, with the memory that takes."""
    writers: dict[str, Callable[[Path], tuple[int, int]]] = {
        "Markdown files with pictures in them": lambda path: write_illustrated(
            path, ILLUSTRATED_CHARACTERS, PICTURE_BYTES, sizes.folder_gb * 1e9
        ),
        "rows of JSONL with vectors in them": lambda path: write_embedded_rows(
            path, VECTOR_DIMENSIONS, sizes.rows_gb * 1e9
        ),
    }
    rows = []
    aims = []
    for label, write_ in writers.items():
        note(f"writing {label}")
        path = folder / "large"
        documents, text_bytes = write_(path)
        gigabytes = sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e9
        with table_worker(path) as worker:
            answer = worker.run("load")
        shutil.rmtree(path)
        words = f"{text_bytes / 1e6:,.0f} MB of text, {answer['chunks']:,} chunks stored in {answer['seconds']:,.0f} s"
        what = f"{gigabytes:.2g} GB: {documents:,} {label}"
        rows.append(Row(what, [gigabytes * 1e3 / answer["seconds"]], answer["tree_mb"], words, ours=True))
        aims.append(Aim(f"megabytes of memory, {label}", answer["tree_mb"], LIMIT_MB, at_most=True))
    return Result(
        name="load_large",
        title="Large inputs into the table, and the memory they take",
        unit="MB/s",
        rows=rows,
        aims=aims,
        facts={
            "peak": "resident memory of the process and of those that it starts to read files, added up at one moment; "
            "without the database",
        },
    )


@contextmanager
def table_worker(path: Path) -> Iterator[Worker]:
    """What loads a folder into a table of its own."""
    with own_server() as url:
        environment = {
            "EMBEDDING_DATABASE_URL": url,
            "EMBEDDING_MODEL_NAME": str(demo_model_folder()),
            "EMBEDDING_DIMENSIONS": "384",
            "EMBEDDING_DEVICE": "cpu",
        }
        with Worker("load_table", {"path": str(path)}, environment=environment) as worker:
            yield worker


def note(text: str) -> None:
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
