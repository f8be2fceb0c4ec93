"""The command ``embedding-assets evaluate``."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby, product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, get_args

import typer
from rich.markup import escape
from rich.table import Table

from embedding_assets.cli import progress
from embedding_assets.cli.console import Json, err, out, print_json, table_session
from embedding_assets.config import SearchMode, Settings
from embedding_assets.errors import ConfigurationError
from embedding_assets.formatting import counted

if TYPE_CHECKING:
    from embedding_assets.evaluation.comparison import Comparison
    from embedding_assets.evaluation.measuring import Measured, Way
    from embedding_assets.evaluation.metrics import Estimate
    from embedding_assets.evaluation.reading import QuestionFile
    from embedding_assets.evaluation.recording import Asked
    from embedding_assets.postgres.connection import Database

_PLAIN: Final[dict[str, Any]] = {"highlight": False, "soft_wrap": True}

_MOST_SHOWN: Final = 20
"""Questions or judgements that are listed on a terminal."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What was asked for; None or empty: the default."""

    spaces: Sequence[str] | None
    modes: Sequence[str] | None
    ef_search: Sequence[int] | None
    rerank: bool


def evaluate(  # noqa: PLR0917 (options, each with a name)
    questions: Annotated[
        Path | None,
        typer.Argument(
            help="Judged questions as JSONL, or a folder in BEIR's form. Default: EMBEDDING_EVALUATION_QUERIES."
        ),
    ] = None,
    qrels: Annotated[
        Path | None, typer.Option(help="Judgements in TREC's form, of the questions in --queries.")
    ] = None,
    queries: Annotated[
        Path | None, typer.Option(help="Questions alone: lines of an id, a tab and the question, or BEIR's JSONL.")
    ] = None,
    split: Annotated[str, typer.Option(help="Which qrels of a folder in BEIR's form.")] = "test",
    space: Annotated[
        list[str] | None, typer.Option(help="Space to ask in; repeatable. Default: the one that serves searches.")
    ] = None,
    mode: Annotated[
        list[str] | None, typer.Option(help="hybrid, vector or text; repeatable. Default: all three.")
    ] = None,
    ef_search: Annotated[
        list[int] | None,
        typer.Option(min=1, max=1000, help="Candidates examined; repeatable. Default: EMBEDDING_INDEX_EF_SEARCH."),
    ] = None,
    rerank: Annotated[bool, typer.Option("--rerank", help="Let the configured reranker order the answers.")] = False,
    k: Annotated[int, typer.Option("-k", min=1, max=200, help="Of recall@k.")] = 10,
    limit: Annotated[int | None, typer.Option(min=1, help="Ask no more questions than these.")] = None,
    compare: Annotated[
        tuple[str, str] | None, typer.Option(help="Two spaces or two modes, compared question by question.")
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="What an earlier --json wrote. Exit status 1 if answers are worse now.")
    ] = None,
    accept: Annotated[
        bool, typer.Option("--accept", help="Keep what is measured: later ones are compared with it.")
    ] = False,
    make: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="Draft so many questions of the table as JSONL instead.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure how good answers are, by questions whose answers people have judged.

    A line of the file is {"query": …, "relevant": [{"source": …, "heading": …, "grade": …}]}; the documentation has all
    fields. The exit status is 1 if answers are worse than the baseline by more than chance explains: than that of
    --baseline, else than the last one accepted.
    """
    if make is not None:
        _make(make)
        return
    if compare and (accept or baseline):
        raise ConfigurationError("--compare compares two ways with each other: leave out --accept and --baseline")
    from embedding_assets.evaluation.recording import choose

    with table_session() as (settings, database):
        found = _questions(settings, questions, qrels, queries, split)
        ways = _ways(settings, database, _Wanted(space, mode, ef_search, rerank), compare)
        # Without a file's name as many as the asset asks, so that --accept accepts what that is compared with.
        most = limit if limit or questions or queries else settings.evaluation.questions
        asked = choose(database, found.questions, most)
        measured = _ask(settings, database, asked, ways, k, quiet=as_json)
        if compare:
            _show_comparison(asked, measured, found, as_json=as_json)
            return
        compared = _compare_with_baseline(database, asked, measured, baseline, accept=accept)
        _show(asked, measured, compared, found, as_json=as_json)
    if any(comparison.verdict == "worse" for comparison in compared.values()):
        raise typer.Exit(1)


def _make(count: int) -> None:
    from embedding_assets.evaluation.drafting import draft_questions

    with table_session() as (_, database):
        drafts = draft_questions(database, count)
        for draft in drafts:
            sys.stdout.write(json.dumps(draft, ensure_ascii=False) + "\n")
        err.print(
            f"{len(drafts):,} drafts, made of headings and first sentences. They measure nothing before a person has "
            'put each question as people ask it, has judged what answers it, and has taken out its "draft".',
            highlight=False,
            soft_wrap=True,
        )


def _questions(
    settings: Settings, questions: Path | None, qrels: Path | None, queries: Path | None, split: str
) -> QuestionFile:
    from embedding_assets.evaluation.reading import read_questions

    if (qrels is None) != (queries is None) and not (qrels and questions):
        raise ConfigurationError("--qrels and --queries go together")
    if questions and queries:
        raise ConfigurationError("name the questions once: as argument or by --queries")
    path = questions or queries or settings.evaluation.queries
    if path is None:
        raise ConfigurationError(
            "name a file with judged questions, or set EMBEDDING_EVALUATION_QUERIES; `embedding-assets evaluate --make "
            "50` drafts one"
        )
    return read_questions(path, qrels=qrels, split=split)


def _ways(settings: Settings, database: Database, wanted: _Wanted, compare: tuple[str, str] | None) -> list[Way]:
    """The ways to ask."""
    from embedding_assets.evaluation.measuring import Way
    from embedding_assets.evaluation.recording import named_space, serving_space

    known = get_args(SearchMode)
    spaces, modes, ef_search = wanted.spaces, wanted.modes, wanted.ef_search
    if compare:
        if spaces and not set(compare) <= set(known):
            raise ConfigurationError("--compare names the spaces: leave out --space")
        if set(compare) <= set(known):
            modes = compare
        else:
            spaces, modes = compare, modes or [settings.search.mode]
        if len(modes) > (2 if modes == compare else 1) or (ef_search and len(ef_search) > 1):
            raise ConfigurationError("--compare compares two ways: give one --mode and one --ef-search at most")
    if unknown := set(modes or ()) - set(known):
        raise ConfigurationError(f"--mode {min(unknown)} is none of {', '.join(known)}")
    columns = [named_space(database, name) for name in spaces] if spaces else [serving_space(database)]
    names = [column.space.name for column in columns]
    asked_by: Sequence[SearchMode] = modes or known  # type: ignore[assignment]
    ways = [Way(*one, wanted.rerank) for one in product(names, asked_by, ef_search or [settings.index.ef_search])]
    # By words alone neither the space nor the search of its index matters.
    ways = [way for n, way in enumerate(ways) if way.mode != "text" or way.mode not in {w.mode for w in ways[:n]}]
    if compare and len(set(ways)) < 2:
        raise ConfigurationError(f"--compare {' '.join(compare)} names one way of asking twice")
    return list(dict.fromkeys(ways))


def _ask(
    settings: Settings, database: Database, asked: Asked, ways: Sequence[Way], k: int, *, quiet: bool
) -> list[Measured]:
    from embedding_assets.evaluation.measuring import evaluate as measure
    from embedding_assets.retrieval import Searcher

    with (
        Searcher(settings, database=database) as searcher,
        progress.counter(err, "asking", "questions", quiet=quiet) as advance,
    ):
        return [measure(searcher, asked.questions, way, k=k, on_progress=advance) for way in ways]


def _compare_with_baseline(
    database: Database, asked: Asked, measured: Sequence[Measured], baseline: Path | None, *, accept: bool
) -> dict[Way, Comparison]:
    """What has changed since the baseline, for each way that it has."""
    from embedding_assets.evaluation.baseline import baseline_of, read_baseline
    from embedding_assets.evaluation.comparison import compare
    from embedding_assets.evaluation.metrics import NDCG
    from embedding_assets.evaluation.recording import measurement_of
    from embedding_assets.postgres.quality import baseline_quality, save_quality

    ways = read_baseline(baseline, asked.question_set) if baseline else None
    compared: dict[Way, Comparison] = {}
    for one in measured:
        measurement = measurement_of(one, asked)
        before: Mapping[str, Mapping[str, float]] | None
        if ways is not None:
            before = baseline_of(one.way, ways)
        else:
            accepted = baseline_quality(database, measurement)
            before = {NDCG: accepted.ndcg_by_question} if accepted else None
        if before is not None and not accept:
            compared[one.way] = compare(asked.questions, before, one.questions)
        if accept:
            save_quality(database, measurement, accept=True)
    if ways is not None and not compared:
        raise ConfigurationError("--baseline has measured none of these modes; name one of its by --mode")
    return compared


def _show(
    asked: Asked,
    measured: Sequence[Measured],
    compared: Mapping[Way, Comparison],
    found: QuestionFile,
    *,
    as_json: bool,
) -> None:
    from embedding_assets.evaluation.baseline import as_document

    if as_json:
        document = as_document(asked, measured, found.unanswered, found.drafts)
        for way, one in zip(document["ways"], measured, strict=True):
            way["baseline"] = _comparison_document(compared[one.way]) if one.way in compared else None
        print_json(document)
        return
    _show_questions(asked, found)
    # A table for each space: beside the numbers its name would be cut.
    for space, ways in groupby(measured, key=lambda one: one.way.space):
        _show_measured(space, list(ways))
    for way, comparison in compared.items():
        out.print(f"\n{escape(way.name)}, compared with the baseline: {_sentence(comparison)}", **_PLAIN)
        if comparison.verdict == "worse":
            out.print(_changes(comparison))
    for note in dict.fromkeys(note for one in measured for note in one.notes):
        err.print(note, style="yellow", markup=False, highlight=False, soft_wrap=True)


def _show_measured(space: str, measured: Sequence[Measured]) -> None:
    if any(one.way.mode != "text" for one in measured):
        out.print(f"In {space}:", markup=False, **_PLAIN)
    table = Table("mode", "ef_search", *measured[0].questions)
    for one in measured:
        way = one.way
        mode = f"{way.mode}, reranked" if way.rerank else way.mode
        table.add_row(
            mode, "" if way.mode == "text" else str(way.ef_search), *map(_with_interval, one.estimates.values())
        )
    out.print(table)


def _show_comparison(asked: Asked, measured: Sequence[Measured], found: QuestionFile, *, as_json: bool) -> None:
    from embedding_assets.evaluation.comparison import compare

    before, after = measured
    comparison = compare(asked.questions, before.questions, after.questions)
    if as_json:
        ways = {"before": asdict(before.way), "after": asdict(after.way)}
        left_out = {"unmatched": len(asked.unmatched), "drafts": found.drafts}
        print_json({**ways, **left_out, **_comparison_document(comparison)})
        return
    _show_questions(asked, found)
    out.print(
        f"From {escape(before.way.name)}\n  to {escape(after.way.name)}: {_sentence(comparison)}", highlight=False
    )
    out.print(_changes(comparison))


def _show_questions(asked: Asked, found: QuestionFile) -> None:
    total = sum(len(question.judgements) for question in asked.questions)
    words = f"{counted(len(asked.questions), 'question')}, {counted(total, 'judgement')}"
    words += f"; {counted(asked.left_out, 'more question')} not asked" if asked.left_out else ""
    words += f"; {found.unanswered:,} left out, which nothing is judged to answer" if found.unanswered else ""
    words += f"; {counted(found.drafts, 'draft')} left out" if found.drafts else ""
    out.print(f"{words}.", highlight=False)
    if asked.unmatched:
        err.print(
            f"Judgements that fit no chunk of the table, and count as not found ({len(asked.unmatched):,}):",
            style="yellow",
            highlight=False,
        )
        for one in asked.unmatched[:_MOST_SHOWN]:
            err.print(f"  {one.question}: {one.judgement}", markup=False, highlight=False, soft_wrap=True)
        if len(asked.unmatched) > _MOST_SHOWN:
            err.print(f"  and {len(asked.unmatched) - _MOST_SHOWN:,} more", highlight=False)


def _sentence(comparison: Comparison) -> str:
    differences = "; ".join(
        f"{metric} {found.value:+.3f} ({found.low:+.3f} to {found.high:+.3f})"
        for metric, found in comparison.differences.items()
    )
    return (
        f"{comparison.verdict}. {differences}. Of {counted(comparison.questions, 'question')} {comparison.better:,} "
        f"gained, {comparison.worse:,} lost."
    )


def _changes(comparison: Comparison) -> Table:
    table = Table("question", "nDCG@10 before", "after", "change", "")
    shown = comparison.changes
    if len(shown) > 2 * _MOST_SHOWN:
        shown = (*shown[:_MOST_SHOWN], *shown[-_MOST_SHOWN:])
    for one in shown:
        numbers = [f"{one.before:.3f}", f"{one.after:.3f}", f"{one.change:+.3f}"]
        table.add_row(escape(one.id), *numbers, escape(one.text[:100]))
    return table


def _comparison_document(comparison: Comparison) -> dict[str, Any]:
    return {
        "verdict": comparison.verdict,
        "differences": {metric: asdict(found) for metric, found in comparison.differences.items()},
        "questions": comparison.questions,
        "better": comparison.better,
        "worse": comparison.worse,
        "changes": [
            {"id": one.id, "before": one.before, "after": one.after, "change": one.change} for one in comparison.changes
        ],
    }


def _with_interval(found: Estimate) -> str:
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"
