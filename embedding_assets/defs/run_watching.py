"""A sensor on runs that ended in one way, which passes over those that do not concern it within one tick."""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from dagster import (
    DagsterRunStatus,
    DefaultSensorStatus,
    RunStatusSensorContext,
    RunStatusSensorDefinition,
    SensorDefinition,
    SensorEvaluationContext,
    SkipReason,
)
from dagster._core.definitions.run_request import DagsterRunReaction
from dagster._utils.error import serializable_error_info_from_exc_info

MOST_RUNS: Final = 50
"""That a tick looks at."""

MOST_SECONDS: Final = 20.0
"""Of a tick, after which it looks at no further run: the next goes on there."""


@dataclass(frozen=True, slots=True)
class Reacted:
    """Something was done about a run, which Dagster notes in that run."""


@dataclass(frozen=True, slots=True)
class Passed:
    """Nothing is to be done about a run."""

    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """What was to be done about a run was not, so that the tick ends with it and shows why."""

    reason: str


Outcome = Reacted | Passed | Failed


def run_watcher(
    name: str, status: DagsterRunStatus, react: Callable[[RunStatusSensorContext], Outcome], description: str
) -> SensorDefinition:
    """A sensor that reacts, once, to each run of its code location that ended so.

    Not Dagster's own, whose tick ends at the first run that it passes over; and where it has reacted to one before
    that, the tick fails, and the next reacts to the same again.
    """

    def evaluate(context: SensorEvaluationContext) -> Iterator[SkipReason | DagsterRunReaction]:
        tick = _Tick(status, react)

        def look_at(context: RunStatusSensorContext) -> SkipReason | DagsterRunReaction:
            return tick.look_at(context)

        one = RunStatusSensorDefinition(name=name, run_status=status, run_status_sensor_fn=look_at)
        for _ in range(MOST_RUNS):
            before = context.cursor
            one.evaluate_tick(context)
            if tick.is_over or context.cursor == before:
                break
        yield from tick.reactions
        if not tick.reactions:  # Dagster takes no reason beside them
            yield SkipReason(tick.reason)

    return SensorDefinition(
        name=name,
        evaluation_fn=evaluate,
        minimum_interval_seconds=30,
        default_status=DefaultSensorStatus.RUNNING,
        description=description,
    )


class _Tick:
    """What came of the runs that a tick has looked at."""

    def __init__(self, status: DagsterRunStatus, react: Callable[[RunStatusSensorContext], Outcome]) -> None:
        self._status, self._react = status, react
        self._until = time.monotonic() + MOST_SECONDS
        self.reactions: list[DagsterRunReaction] = []
        self.reason = f"no further run has ended as {status.value}"
        self.is_over = False

    def look_at(self, context: RunStatusSensorContext) -> SkipReason | DagsterRunReaction:
        """Its return value ends Dagster's own look, of which one is for one run."""
        reaction = DagsterRunReaction(context.dagster_run, run_status=self._status)
        try:
            outcome = self._react(context)
        except Exception:  # noqa: BLE001  whatever it is, Dagster shows it in the tick and goes on behind this run
            outcome = Reacted()
            reaction = reaction._replace(error=serializable_error_info_from_exc_info(sys.exc_info()))
        self.is_over = reaction.error is not None or isinstance(outcome, Failed) or time.monotonic() > self._until
        if isinstance(outcome, Reacted):
            self.reactions.append(reaction)
            return reaction
        self.reason = outcome.reason
        return SkipReason(outcome.reason)
