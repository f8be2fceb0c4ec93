"""Answers to questions as a person reads them in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.segment import Segment
from rich.text import Text

from embedding_assets.formatting import visible

if TYPE_CHECKING:
    from embedding_assets.retrieval import Answer, Neighbour, Place, RandomScores, SearchResult

_NARROW: Final = 60
"""Columns of a terminal below which a text is hardly indented."""

_MOST_PLACES: Final = 3
"""Other places of a text that are named."""

_NEIGHBOUR_CHARACTERS: Final = 160


def answer_view(answer: Answer) -> RenderableType:
    """Answers, each with score and place, the part of the text that matters, and other places; then the notes.

    The space stands there where there are several: scores can be compared within one only.
    """
    several = len({result.space for result in answer if result.space}) > 1
    views: list[RenderableType] = [_Result(result, names_space=several) for result in answer]
    if not answer:
        views.append(Text("Nothing matches."))
    notes = [*answer.notes, *([_about(answer.random_scores)] if answer.random_scores and answer else [])]
    views += [Text(f"Note: {visible(note)}", style="dim") for note in notes]
    return Group(*views)


class _Result:
    """One answer, laid out for the width there is."""

    def __init__(self, result: SearchResult, *, names_space: bool) -> None:
        self._result = result
        self._names_space = names_space

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        indent = 2 if options.max_width < _NARROW else 7
        yield self._head()
        parts = [
            *(_neighbour(one) for one in self._result.context if one.distance < 0),
            self._snippet(),
            *(_neighbour(one) for one in self._result.context if one.distance > 0),
            *([_places(self._result.other_places)] if self._result.other_places else []),
        ]
        # Without blanks up to the right edge, which a pipe or a copy would keep.
        inside = options.update_width(max(1, options.max_width - indent))
        for line in console.render_lines(Group(*parts), inside, pad=False):
            yield Segment(" " * indent)
            yield from line
            yield Segment.line()
        yield Segment.line()

    def _head(self) -> Text:
        result = self._result
        score = "  -  " if result.score is None else f"{result.score:.3f}"
        place = result.context_header or result.title
        details = [
            *([result.space] if self._names_space and result.space else []),
            *(["by its words"] if result.vector_rank is None and result.text_rank is not None else []),
            *([] if result.rerank_score is None else [f"reranked {result.rerank_score:.3f}"]),
        ]
        parts: list[tuple[str, str]] = [(score, "bold green")]
        parts += [(f"  {_one_line(place)}", "bold")] if place else []
        parts += [(f"  {_one_line(result.place)}", "dim")]
        parts += [(f"  ({', '.join(details)})", "dim")] if details else []
        return Text.assemble(*parts)

    def _snippet(self) -> Text:
        text = Text(visible(self._result.snippet.text))
        for start, end in self._result.snippet.marks:
            text.stylize("bold", start, end)
        return text


def _neighbour(neighbour: Neighbour) -> Text:
    line = _one_line(neighbour.text)
    if len(line) > _NEIGHBOUR_CHARACTERS:
        # What is next to the answer.
        line = f"… {line[-_NEIGHBOUR_CHARACTERS:]}" if neighbour.distance < 0 else f"{line[:_NEIGHBOUR_CHARACTERS]} …"
    return Text(f"{'↑' if neighbour.distance < 0 else '↓'} {line}", style="dim")


def _places(places: tuple[Place, ...]) -> Text:
    named = list(dict.fromkeys(_one_line(_name(place)) for place in places))
    more = f" and {len(named) - _MOST_PLACES:,} more" if len(named) > _MOST_PLACES else ""
    return Text(f"also: {'; '.join(named[:_MOST_PLACES])}{more}", style="dim")


def _name(place: Place) -> str:
    from embedding_assets.retrieval.answer import name_of_key

    return place.source or name_of_key(place.key) or place.chunk_hash


def _about(random_scores: RandomScores) -> str:
    return f"chunks picked at random score {random_scores.mean:.2f} ± {random_scores.spread:.2f} with this question"


def _one_line(text: str) -> str:
    return visible(" ".join(text.split()))
