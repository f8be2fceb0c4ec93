"""The outcome of a check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

Severity = Literal["error", "warning"]
"""``error``: what builds on the data is endangered. ``warning``: somebody should look."""

Number = float | int | str
"""A measurement behind a verdict."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of one check.

    Attributes:
        name: of the check.
        severity: of a failure.
        passed: whether the check passed.
        description: what was found; when it failed, also what to do.
        numbers: the measurements behind it.
    """

    name: str
    severity: Severity
    passed: bool
    description: str
    numbers: Mapping[str, Number] = field(default_factory=dict)

    @property
    def is_error(self) -> bool:
        """True if it failed and endangers what builds on the data."""
        return not self.passed and self.severity == "error"


def over_spaces(verdicts: Mapping[str, Verdict]) -> Verdict:
    """One verdict on several spaces: fails as soon as one does, and names it; the numbers are the first space's."""
    first = next(iter(verdicts.values()))
    failed = {space: verdict for space, verdict in verdicts.items() if not verdict.passed}
    if len(verdicts) == 1 and first.passed:
        return first
    description = "; ".join(f"space {space}: {verdict.description}" for space, verdict in (failed or verdicts).items())
    return replace(first, passed=not failed, description=description)
