"""The outcome of a check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of one check.

    Attributes:
        name: of the check.
        passed: whether all is well.
        blocking: whether a failure endangers what builds on the data, rather than calling for attention.
        description: what was found; when it failed, what to do.
        numbers: the measurements behind it.
    """

    name: str
    passed: bool
    blocking: bool
    description: str
    numbers: dict[str, float | int | str] = field(default_factory=dict)


def over_spaces(verdicts: Mapping[str, Verdict]) -> Verdict:
    """One verdict on several spaces: fails as soon as one does, and names it; the numbers are the first space's."""
    first = next(iter(verdicts.values()))
    failed = {space: verdict for space, verdict in verdicts.items() if not verdict.passed}
    if len(verdicts) == 1 and first.passed:
        return first
    told = failed or verdicts
    return Verdict(
        first.name,
        passed=not failed,
        blocking=any(verdict.blocking for verdict in told.values()),
        description="; ".join(f"space {space}: {verdict.description}" for space, verdict in told.items()),
        numbers=first.numbers,
    )
