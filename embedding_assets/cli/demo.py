"""The demonstration: real text, embedded through Dagster, checked, and asked three questions."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from rich.console import Console
from rich.rule import Rule
from rich.table import Table

from embedding_assets.cli import progress
from embedding_assets.cli.answers import answer_view
from embedding_assets.cli.corpus import installed_documents
from embedding_assets.cli.dagster import start_materialization
from embedding_assets.cli.documents import Rejections, load_view
from embedding_assets.cli.models import fetch
from embedding_assets.config import DEFAULT_MODEL_NAME
from embedding_assets.documents.file_loading import LoadOptions, load_files
from embedding_assets.documents.loading import configured_splitter, load_documents
from embedding_assets.documents.roots import find_roots
from embedding_assets.encoder.demo_model import NAME as DEMO_MODEL
from embedding_assets.errors import EmbeddingAssetsError
from embedding_assets.formatting import dollars, megabytes, rate
from embedding_assets.health.judge import judge_everything
from embedding_assets.postgres.backlog import count_backlog
from embedding_assets.postgres.bootstrap import open_database
from embedding_assets.postgres.catalog import describe_index
from embedding_assets.postgres.runs import latest_run
from embedding_assets.postgres.spaces import serving_space
from embedding_assets.providers.space_selection import select_for_run
from embedding_assets.providers.splitting_model import model_for_splitting
from embedding_assets.reporting.status_page import pairs, verdict_table
from embedding_assets.retrieval import Question, Searcher

if TYPE_CHECKING:
    from embedding_assets.config import Settings
    from embedding_assets.health.verdict import Verdict
    from embedding_assets.postgres.connection import Database
    from embedding_assets.spaces import SpaceColumn

QUESTIONS: Final = (
    "How do I read a file line by line?",
    "What keeps two threads from changing the same data at once?",
    "How are passwords and secrets compared safely?",
)

_POLL_SECONDS = 0.5


def run_demo(
    settings: Settings, paths: list[str], console: Console, *, model: Literal["small", "default"] | None = None
) -> None:
    """Load, embed through Dagster, check, ask; a second call finds nothing to do and says so.

    Raises:
        EmbeddingAssetsError: a step failed; the message says where the details are.
    """
    with open_database(settings) as database:
        console.print(f"PostgreSQL: {database.address}", markup=False, highlight=False)
        settings, explanation = choose_model(settings, database, model)
        if explanation:
            console.print(explanation, style="yellow", markup=False, highlight=False)
        _load(settings, database, paths, console)
        with progress.spinner(console, "trying the model", quiet=not console.is_terminal):
            column = select_for_run(settings, database).column
        console.print(f"Vector space: {column.space.name}", markup=False, highlight=False)
        backlog = count_backlog(database, column)
        if not backlog.due:
            console.print(
                f"Nothing to embed: {backlog.embedded:,} of {backlog.chunks:,} chunks have their vectors already."
            )
        if backlog.due or (
            backlog.chunks and not describe_index(database, column.index).matches(column, settings.index)
        ):
            _materialize(settings, database, column, backlog.due, console)
        _summarize(settings, database, column, console)
        _search(settings, database, console)
    _print_next_steps(console)


def choose_model(
    settings: Settings, database: Database, model: Literal["small", "default"] | None
) -> tuple[Settings, str | None]:
    """Settings with the model to show, and a line about it unless it was chosen before.

    The small one unless another was asked for, by name or by the table: a demonstration is to be quick.

    Raises:
        ModelUnavailableError: the model that was asked for cannot be had.
    """
    if model == "default":
        settings = settings.with_embedding(model_name=DEFAULT_MODEL_NAME, new_space=True)
        fetch(settings, quiet=False)
        return settings, None
    is_chosen = "model_name" in settings.embedding.model_fields_set or serving_space(database) is not None
    if model is None and (is_chosen or settings.embedding.provider != "local"):
        model_for_splitting(settings, database)
        return settings, None
    return settings.with_embedding(model_name=DEMO_MODEL), (
        f"The model is a small one, to be quick: all-MiniLM-L6-v2, lifted to 768 dimensions. {DEFAULT_MODEL_NAME}, "
        "the default elsewhere: embedding-assets demo --model default"
    )


def _load(settings: Settings, database: Database, paths: list[str], console: Console) -> None:
    rejections = Rejections(console, wrap=True)
    splitter = configured_splitter(settings, database)
    roots = find_roots(database, paths, None)
    with progress.counter(console, "loading", "chunks") as advance:
        if roots:
            report = load_files(database, roots, splitter, LoadOptions(), on_progress=advance, on_reject=rejections.add)
        else:
            report = load_documents(database, installed_documents(), splitter, on_progress=advance)
    rejections.sum_up()
    console.print(load_view(report, next_step=""), highlight=False)


def _materialize(settings: Settings, database: Database, column: SpaceColumn, total: int, console: Console) -> None:
    """Through Dagster, in a process of its own; progress is read from the table."""
    log = settings.data_dir / "demo.log"
    console.print("Materializing chunks_pending, chunk_embeddings and pgvector_index_health in one Dagster run.")
    with log.open("wb") as stream, progress.bar(console, "embedding", total, quiet=not total) as advance:
        run = start_materialization(settings, stream)
        done = 0
        try:
            ended = False
            while not ended:
                time.sleep(_POLL_SECONDS)
                ended = run.poll() is not None
                now = total - min(total, count_backlog(database, column).due)
                advance(now - done)
                done = now
        except BaseException:
            # Ctrl-C reaches both processes, another signal or error only this one: neither may leave the run behind.
            run.send_signal(signal.SIGINT)
            run.wait()
            raise
    if run.returncode != 0:
        raise EmbeddingAssetsError(f"the Dagster run failed with status {run.returncode}{_cause(log)}; see {log}")


def _cause(log: Path) -> str:
    """This package's own error in the log, if that is what ended the run."""
    causes = re.findall(r"^embedding_assets\.errors\.\w+: (.+)$", log.read_text("utf-8", "replace"), re.MULTILINE)
    return f" ({causes[-1]})" if causes else ""


def _summarize(settings: Settings, database: Database, column: SpaceColumn, console: Console) -> None:
    verdicts = judge_everything(database, column, settings)
    backlog, run = count_backlog(database, column), latest_run(database, column.space.name)
    index = describe_index(database, column.index)
    cells = {
        "chunks": f"{backlog.chunks:,}",
        "embedded": f"{backlog.embedded:,}",
        "failed": f"{backlog.quarantined + backlog.waiting:,}",
    }
    if run:
        cells |= {
            "truncated": f"{run.truncated:,}",
            "seconds": f"{run.seconds:.1f}",
            "chunks/s": rate(run.chunks_per_second),
            "peak memory": megabytes(run.peak_memory_bytes),
            **({"cost": dollars(run.usd)} if run.usd else {}),
        }
    cells |= {"index": megabytes(index.size_bytes), "recall@10": _recall(verdicts)}
    table = pairs()
    for row in cells.items():
        table.add_row(*row)
    console.print(Rule("The table and its latest run"), table, Rule("Asset checks"), verdict_table(verdicts))


def _recall(verdicts: list[Verdict]) -> str:
    numbers = next(verdict.numbers for verdict in verdicts if verdict.name == "recall")
    return f"{numbers['recall']:.3f}" if "recall" in numbers else "not measured"


def _search(settings: Settings, database: Database, console: Console) -> None:
    console.print(Rule("Three questions"))
    with Searcher(settings, database=database) as searcher:
        for question in QUESTIONS:
            console.print(f"[bold]{question}[/bold]")
            console.print(answer_view(searcher.ask(Question(question, k=2))))


def _print_next_steps(console: Console) -> None:
    console.print(Rule("Next"))
    table = Table(box=None, pad_edge=False, show_header=False)
    for command, purpose in (
        ("make ui", "see the assets, checks and runs in the Dagster UI (also: embedding-assets ui)"),
        ('embedding-assets search "…"', "ask something yourself"),
        ("embedding-assets load PATH && embedding-assets embed", "add your own documents"),
        ("embedding-assets status", "see how everything is, at a glance"),
        ("embedding-assets report --html FILE", "the same with figures, on one page"),
    ):
        table.add_row(f"[bold]{command}[/bold]", purpose)
    console.print(table)
