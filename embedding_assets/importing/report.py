"""What became of an import."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from embedding_assets.importing.comparison import Comparison
    from embedding_assets.importing.survey import Survey

UNKNOWN_EDITS: Final = (
    "Whether a text was edited after the other tool had embedded it, no table says; a sample alone was compared. "
    "`embedding-assets health` compares another one each time."
)


@dataclass(slots=True)
class ImportReport:
    """What became of an import, or with ``checked_only`` what would.

    Attributes:
        what: was imported, for a person.
        space: name of the space.
        checked_only: nothing was changed.
        compared: vectors that were embedded again and compared.
        lowest_cosine: of these; None if none was.
        differing: keys of the single ones that differ; they are, or are left, without a vector.
        read: vectors, or rows that should have one, that were read.
        usable: of these, ones that can be taken over.
        present: of the others, ones whose row has a vector already.
        written: vectors that were written, or stayed where they are and now belong to the space.
        dropped: vectors that were taken away, so that they are embedded again.
        passed_over: rows that were edited or locked since the copy began, or that the database refused.
        refused: reason → how many could not be taken over.
        examples: reason → the first keys.
        documents: documents that were imported.
        added: chunks that are new.
        removed: chunks that their documents no longer have.
        next_steps: commands that go on from here.
        remarks: what cannot be known, and what else a person should know.
    """

    what: str
    space: str
    checked_only: bool = False
    compared: int = 0
    lowest_cosine: float | None = None
    differing: list[str] = field(default_factory=list)
    read: int = 0
    usable: int = 0
    present: int = 0
    written: int = 0
    dropped: int = 0
    passed_over: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)
    documents: int = 0
    added: int = 0
    removed: int = 0
    next_steps: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @classmethod
    def of_survey(
        cls, what: str, space: str, survey: Survey, comparison: Comparison, *, checked_only: bool
    ) -> ImportReport:
        """The report of what was read and compared, before anything is written."""
        return cls(
            what,
            space,
            checked_only=checked_only,
            compared=comparison.compared,
            lowest_cosine=comparison.lowest,
            differing=[one.key for one in comparison.differing],
            read=survey.read,
            usable=survey.usable,
            present=survey.present,
            refused=dict(survey.refused),
            examples=survey.examples,
        )

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {name: getattr(self, name) for name in self.__slots__}
