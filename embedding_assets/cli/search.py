"""The command ``embedding-assets search``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from embedding_assets.cli import progress
from embedding_assets.cli.console import Json, err, out, session, show
from embedding_assets.config import SearchMode


def search(  # noqa: PLR0917 (options, each with a name)
    query: Annotated[str, typer.Argument(help="A question in plain words, or an identifier.")],
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="How many answers.")] = 5,
    mode: Annotated[
        SearchMode | None,
        typer.Option(help="Rank by vectors and words, or one of them. Default: EMBEDDING_SEARCH_MODE."),
    ] = None,
    where: Annotated[
        list[str] | None, typer.Option(help="Only chunks of which this holds, e.g. lang=en or 'price<10'; repeatable.")
    ] = None,
    min_score: Annotated[
        float | None,
        typer.Option(help="Least similarity. What holds all words of the question, rare ones, needs none."),
    ] = None,
    context: Annotated[int, typer.Option(min=0, max=10, help="Neighbours to show on either side of a chunk.")] = 0,
    rerank: Annotated[
        bool, typer.Option("--rerank", help="Let the reranker order the first answers, e.g. EMBEDDING_RERANK_MODEL.")
    ] = False,
    space: Annotated[
        str | None,
        typer.Option(help="Ask in this vector space, or one whose name begins so. Default: that which serves."),
    ] = None,
    ef_search: Annotated[
        int | None,
        typer.Option(min=1, max=1000, help="Candidates examined by the index. Default: EMBEDDING_INDEX_EF_SEARCH."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Find the chunks that answer a question, by what they mean and by their words; equal texts come once.

    Examples:

      embedding-assets search "how do I rotate keys?"

      embedding-assets search ERR-40417 -k 1

      embedding-assets search "returns policy" --where lang=en --where 'year>=2024' --min-score 0.35

      embedding-assets search "chocolate cake" --context 1 --json
    """
    from embedding_assets.cli.answers import answer_view
    from embedding_assets.postgres.conditions import conditions_of
    from embedding_assets.retrieval import Question, Searcher

    question = Question(
        query,
        k=k,
        mode=mode,
        where=conditions_of(where or ()),
        min_score=min_score,
        context=context,
        rerank=rerank,
        space=space,
        ef_search=ef_search,
        # For the person who wonders which score is a good one.
        compare=min_score is None and out.is_terminal and not as_json,
    )
    with session() as settings:
        # Loading a local model takes some seconds.
        with (
            progress.spinner(err, "searching", quiet=as_json or not err.is_terminal),
            Searcher(settings) as searcher,
        ):
            answer = searcher.ask(question)
        show(asdict(answer), answer_view(answer), as_json=as_json)
