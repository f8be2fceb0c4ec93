"""A column of the table that another tool has filled: compared, then owned by the space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from embedding_assets.errors import ConfigurationError, ImportRefusedError
from embedding_assets.importing.comparison import compare
from embedding_assets.importing.guessing import guess_dimensions
from embedding_assets.importing.report import UNKNOWN_EDITS, ImportReport
from embedding_assets.importing.survey import API_SAMPLE, LOCAL_SAMPLE, MOST_EXAMPLES, Sampled
from embedding_assets.importing.target import find_target, register_target, without_runs
from embedding_assets.postgres.backlog import count_vectors
from embedding_assets.postgres.foreign.matching import find_unfit, read_texts, take_vectors
from embedding_assets.postgres.foreign.relation import columns_of
from embedding_assets.postgres.foreign.snapshot import snapshot
from embedding_assets.postgres.samples import read_vectors, sample_vectors
from embedding_assets.postgres.spaces import check_claim, list_spaces
from embedding_assets.spaces import UNIT_LENGTH_TOLERANCE, SpaceColumn

if TYPE_CHECKING:
    from embedding_assets.config import Settings
    from embedding_assets.importing.options import ImportOptions
    from embedding_assets.importing.target import Target
    from embedding_assets.postgres.connection import Database

_TAKEN_AT_ONCE: Final = 500


def import_in_place(settings: Settings, database: Database, options: ImportOptions) -> ImportReport:
    """Compare a sample of the table's filled vector column, then let it belong to the space of the settings' model.

    Raises:
        ImportRefusedError: the vectors are not those of the settings' model.
        ConfigurationError: the column is empty, or belongs to another space.
        ProviderError: the sample cannot be embedded now.
    """
    target = find_target(settings, database)
    column, is_owned = _column(target)
    sample = _sample(target, column, options)
    total = database.run(lambda connection: count_vectors(connection, database.table, column))
    unfit, examples = _find_unfit(target, column, MOST_EXAMPLES)
    if unfit:
        _refuse_unfit(target, sample, unfit, examples, of=total, drop=options.drop_differing)
    comparison = compare(target, sample, of=total, drop=options.drop_differing, notice=options.notice)
    report = ImportReport(
        f"column {column.name} of {database.table}",
        target.space.name,
        checked_only=options.check,
        compared=comparison.compared,
        lowest_cosine=comparison.lowest,
        differing=[one.key for one in comparison.differing],
        read=total,
        usable=total - len(comparison.differing) - sum(unfit.values()),
        present=total if is_owned else 0,
        refused=unfit,
        examples={code: [", ".join(key) for key in keys] for code, keys in examples.items()},
        remarks=[UNKNOWN_EDITS],
    )
    if options.check:
        return report
    check_claim(database, target.space)
    with without_runs(target):
        # First: a stop in between leaves these pending, and the column as it was.
        found = [(one.row_key, one.vector) for one in comparison.differing]
        report.dropped = take_vectors(database, column.name, found) + (_take_unfit(target, column) if unfit else 0)
        register_target(target, claim=True)
    report.written = 0 if is_owned else total - report.dropped
    report.next_steps.append("embedding-assets embed")
    return report


def _column(target: Target) -> tuple[SpaceColumn, bool]:
    """The table's first vector column as that of the space, and whether it is already."""
    table = target.database.table
    owner = next((column for column in list_spaces(target.database) if column.name == table.vectors), None)
    if owner is not None and owner.space != target.space:
        raise ConfigurationError(
            f"column {table.vectors} of {table} belongs to space {owner.space.name}, and the settings lead to "
            f"{target.space.name}"
        )
    with target.database.session() as connection:
        if table.vectors not in columns_of(connection, table.oid):
            raise ConfigurationError(
                f"{table} has no column {table.vectors} yet; name the one that is filled with "
                f"`embedding-assets adopt {table} --column …`"
            )
    return owner or SpaceColumn(target.space, table.vectors, "", serving=False), owner is not None


def _sample(target: Target, column: SpaceColumn, options: ImportOptions) -> list[Sampled]:
    database = target.database
    size = options.sample or (API_SAMPLE if target.by_api else LOCAL_SAMPLE)
    stored = sample_vectors(database, column, size)
    if not stored:
        raise ConfigurationError(
            f"column {column.name} of {database.table} is empty: there is nothing to take over; run "
            "`embedding-assets embed`"
        )
    lengths = {len(row.vector) for row in stored}
    if lengths != {target.space.dimensions}:
        other = min(lengths - {target.space.dimensions})
        raise ImportRefusedError(
            f"the vectors of column {column.name} are not of space {target.space.name}: "
            f"{guess_dimensions(target, other)}"
        )
    with snapshot(database) as connection:
        texts = read_texts(connection, database.table, [row.key for row in stored])
    # Text and vector as they were read together; other columns are for the guess alone.
    return [
        Sampled(", ".join(row.key), row.key, row.text, row.vector, texts[row.key].others if row.key in texts else {})
        for row in stored
        if row.text.strip()
    ]


def _find_unfit(
    target: Target, column: SpaceColumn, most: int
) -> tuple[dict[str, int], dict[str, list[tuple[str, ...]]]]:
    with snapshot(target.database) as connection:
        return find_unfit(
            connection,
            target.database.table,
            column.name,
            normalized=target.space.normalized,
            tolerance=UNIT_LENGTH_TOLERANCE,
            most=most,
        )


def _refuse_unfit(
    target: Target,
    sample: list[Sampled],
    unfit: dict[str, int],
    examples: dict[str, list[tuple[str, ...]]],
    *,
    of: int,
    drop: bool,
) -> None:
    """Refuse vectors that no model, or not this one, makes, unless they are single ones that may be taken away."""
    many = 2 * sum(unfit.values()) > of
    if many and not target.by_api:
        compare(target, sample, of=of, drop=False)  # says why, as a rule
    if drop and not many:
        return
    counts = ", ".join(f"{count:,} {code}" for code, count in unfit.items())
    keys = "; ".join(", ".join(key) for found in examples.values() for key in found)
    way = "" if many else ". With --drop-differing they are taken away, to be embedded again"
    raise ImportRefusedError(
        f"{target.space.model} does not make all of the {of:,} vectors ({counts}; keys {keys}): scaled, not "
        f"normalized, or of another model{way}"
    )


def _take_unfit(target: Target, column: SpaceColumn) -> int:
    taken = 0
    while True:
        _, examples = _find_unfit(target, column, _TAKEN_AT_ONCE)
        keys = [key for found in examples.values() for key in found]
        rows = [(row.key, row.vector) for row in read_vectors(target.database, column, keys)] if keys else []
        count = take_vectors(target.database, column.name, rows)
        taken += count
        if not count:
            return taken
