"""Vectors with keys, from a table or a file, into the space's column of the rows that have these keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from embedding_assets.errors import ConfigurationError
from embedding_assets.importing.comparison import compare, refuse_whole
from embedding_assets.importing.report import UNKNOWN_EDITS, ImportReport
from embedding_assets.importing.survey import (
    API_SAMPLE,
    LOCAL_SAMPLE,
    Reservoir,
    Sampled,
    Survey,
    judge_vectors,
)
from embedding_assets.importing.target import find_target, register_target, without_runs
from embedding_assets.postgres.foreign.matching import Match, match_keys, read_texts
from embedding_assets.postgres.foreign.snapshot import snapshot
from embedding_assets.postgres.vectors import write_vectors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embedding_assets.config import Settings
    from embedding_assets.importing.options import ImportOptions
    from embedding_assets.importing.target import Target
    from embedding_assets.postgres.connection import Connection, Database
    from embedding_assets.postgres.foreign.relation import KeyedVector
    from embedding_assets.postgres.table import Table

Source = Callable[["Connection"], Iterator[list["KeyedVector"]]]
"""Reads all vectors with their keys, a portion at a time; a table as the connection's snapshot has it."""


@dataclass(slots=True)
class _Found:
    """A portion's vectors that can be taken over, with their rows; and the samples that are drawn from all portions."""

    survey: Survey
    sample: Reservoir
    scaled: Reservoir


def key_columns(table: Table, names: Sequence[str]) -> tuple[str, ...]:
    """Columns with the key of a table where it comes from elsewhere; by default called the same.

    Raises:
        ConfigurationError: the table's key has another number of columns.
    """
    own = tuple(column.name for column in table.key)
    if names and len(names) != len(own):
        raise ConfigurationError(
            f"--key: the key of {table} is {', '.join(own)}; name a column for each, in this order"
        )
    return tuple(names) or own


def import_keyed(
    settings: Settings, database: Database, source: Source, what: str, options: ImportOptions
) -> ImportReport:
    """Compare a sample, then write every vector whose row has none, and whose text stays as it was when this began.

    A row's text may have been edited after the other tool embedded it: that no table says, and only the sample shows.

    Raises:
        ImportRefusedError: the vectors are not those of the settings' model.
        ConfigurationError: the keys are not the table's, or the space cannot be had.
        ProviderError: the sample cannot be embedded now.
    """
    target = find_target(settings, database)
    with snapshot(database) as connection, options.progress("reading", None) as advance:
        found = _survey(connection, target, source, options, advance)
        sample = _with_texts(connection, target, found)
    survey = found.survey
    refuse_whole(target, survey, sample)
    comparison = compare(target, sample, of=survey.usable, drop=options.drop_differing, notice=options.notice)
    report = ImportReport.of_survey(what, target.space.name, survey, comparison, checked_only=options.check)
    if options.check or not survey.usable:
        return report
    target = register_target(target, claim=False)
    _copy(target, source, {one.row_key for one in comparison.differing}, report, options)
    report.next_steps.append("embedding-assets embed")
    report.remarks.append(UNKNOWN_EDITS)
    return report


def _survey(
    connection: Connection, target: Target, source: Source, options: ImportOptions, advance: Callable[[int], None]
) -> _Found:
    size = options.sample or (API_SAMPLE if target.by_api else LOCAL_SAMPLE)
    found = _Found(Survey(), Reservoir(size), Reservoir(size))
    for portion in source(connection):
        for item, match in _usable(connection, target, portion, found):
            found.sample.offer(Sampled(_shown(item.key), match.row.key, "", _vector(item)))
        advance(len(portion))
    return found


def _usable(
    connection: Connection, target: Target, portion: Sequence[KeyedVector], found: _Found | None
) -> list[tuple[KeyedVector, Match]]:
    """The vectors of a portion that can be taken over, with their rows; what cannot is counted in ``found``."""
    survey = found.survey if found else Survey()
    survey.read += len(portion)
    complete: list[tuple[KeyedVector, tuple[str, ...]]] = []
    for item in portion:
        # PostgreSQL stores no NUL.
        if any(part is None or "\x00" in part for part in item.key):
            survey.refuse("no_key", _shown(item.key))
        else:
            complete.append((item, tuple(part for part in item.key if part is not None)))
    column = target.column.name if target.column else None
    matches = match_keys(connection, target.database.table, column, [key for _, key in complete])
    unfit = judge_vectors(target.space, [item.vector for item, _ in complete])
    usable: list[tuple[KeyedVector, Match]] = []
    seen: set[str] = set()
    for place, (item, _) in enumerate(complete):
        match = matches.get(place)
        if match is None:
            survey.refuse("unmatched_key", _shown(item.key))
        elif match.row.chunk_hash in seen:
            survey.refuse("repeated_key", _shown(item.key))
        elif match.is_embedded:
            survey.present += 1
        elif place in unfit:
            survey.refuse(unfit[place], _shown(item.key))
            if found and item.vector is not None:
                survey.dimensions.add(len(item.vector))
                if unfit[place] == "not_unit_length":
                    found.scaled.offer(Sampled(_shown(item.key), match.row.key, "", item.vector))
        else:
            usable.append((item, match))
        if match is not None:
            seen.add(match.row.chunk_hash)
    survey.usable += len(usable)
    return usable


def _with_texts(connection: Connection, target: Target, found: _Found) -> list[Sampled]:
    """The sample with its texts; of vectors that all have the wrong length, where no other is usable."""
    drawn = found.sample.items or found.scaled.items
    texts = read_texts(connection, target.database.table, [one.row_key for one in drawn])
    completed = [
        replace(one, text=texts[one.row_key].text, others=texts[one.row_key].others)
        for one in drawn
        if one.row_key in texts
    ]
    return [one for one in completed if one.text.strip()]


def _copy(
    target: Target, source: Source, differing: set[tuple[str, ...]], report: ImportReport, options: ImportOptions
) -> None:
    assert target.column is not None
    with (
        without_runs(target) as locks,
        # Fingerprints of now: what is edited from here on is not written over.
        snapshot(target.database) as connection,
        options.progress("writing", report.usable) as advance,
    ):
        for portion in source(connection):
            usable = _usable(connection, target, portion, None)
            kept = [(item, match) for item, match in usable if match.row.key not in differing]
            if kept:
                locks.check()
                rows = [match.row for _, match in kept]
                outcome = write_vectors(
                    target.database, target.column, rows, np.stack([_vector(item) for item, _ in kept])
                )
                report.written += len(outcome.written)
                report.passed_over += len(rows) - len(outcome.written)
            advance(len(usable))


def _vector(item: KeyedVector) -> NDArray[np.float32]:
    assert item.vector is not None
    return item.vector


def _shown(key: Sequence[str | None]) -> str:
    return ", ".join("NULL" if part is None else part for part in key)
