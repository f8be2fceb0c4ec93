"""The check of documents: what loading them found, turned into a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from embedding_assets.formatting import counted
from embedding_assets.health import checks

if TYPE_CHECKING:
    from embedding_assets.health.verdict import Verdict

_NAMED: Final = 3


def documents_readable(
    documents: int,
    reasons: Mapping[str, int],
    *,
    missing: Sequence[str] = (),
    shrunk: Sequence[str] = (),
    gone: int = 0,
    prune_refused: bool = False,
) -> Verdict:
    """All that is to be loaded could be read.

    An error where a folder is missing or nothing at all could be read; a warning where files or rows were rejected, or
    where so much is gone that it was kept.

    Args:
        documents: how many were read.
        reasons: kind of a rejection → how many there were.
        missing: sentences on folders and files that are not there.
        shrunk: files that lost so much that nothing of it was removed.
        gone: documents whose file is not there any more.
        prune_refused: whether those were too many to be removed.
    """
    rejected = sum(reasons.values())
    faults = list(missing)
    if rejected:
        kinds = sorted(reasons.items(), key=lambda item: -item[1])
        faults.append(f"{rejected:,} rejected ({', '.join(f'{count:,}: {kind}' for kind, count in kinds[:_NAMED])})")
    if prune_refused:
        faults.append(f"{counted(gone, 'document')} gone, more than a fifth of a collection, so none was removed")
    if shrunk:
        faults.append(f"{', '.join(shrunk[:_NAMED])} lost so much that none of it was removed")
    verdict = checks.DOCUMENTS_READABLE.verdict(
        not faults,
        "; ".join([f"{counted(documents, 'document')} read", *faults]),
        {"documents": documents, "rejected": rejected, "missing": len(missing)},
    )
    is_error = bool(missing) or (rejected > 0 and documents == 0)
    return replace(verdict, severity="error") if is_error else verdict
