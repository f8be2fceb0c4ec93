"""A sensor on runs that ended in one way, which passes over those that do not concern it within one tick."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

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
from dagster._core.definitions.sensor_definition import SensorType
from dagster._utils.error import serializable_error_info_from_exc_info

if TYPE_CHECKING:
    from embedding_assets.defs.table_spec import TableSpec

MOST_RUNS: Final = 50
"""That a tick looks at."""

MOST_SECONDS: Final = 20.0
"""Of a tick, after which it looks at no further run: the next goes on there."""

AGAIN_SECONDS: Final = 3600.0
"""For which ticks try again what failed by something that may pass; later runs wait behind it."""


@dataclass(frozen=True, slots=True)
class Reacted:
    """Something was done about a run, which Dagster notes in that run."""


@dataclass(frozen=True, slots=True)
class Passed:
    """Nothing is to be done about a run."""

    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """What was to be done about a run was not, so that the tick ends with it and shows why.

    Attributes:
        reason: why.
        may_pass: whether the next ticks try it again.
    """

    reason: str
    may_pass: bool = False


Outcome = Reacted | Passed | Failed
React = Callable[[RunStatusSensorContext], Outcome]


class RunWatcher(SensorDefinition):
    """A sensor that reacts, once, to each run of its code location that ended in one way.

    Not Dagster's own, whose tick ends at the first run that it passes over; and where it has reacted to one before
    that, the tick fails, and the next reacts to the same again. A reaction that failed it does not try again.
    """

    def __init__(
        self,
        name: str,
        status: DagsterRunStatus,
        react: React,
        *,
        table: TableSpec,
        description: str,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self.table = table
        self._made_from = (name, status, react)
        super().__init__(
            name=name,
            evaluation_fn=lambda context: _evaluate(context, name, status, react),
            minimum_interval_seconds=30,
            default_status=DefaultSensorStatus.RUNNING,
            description=description,
            metadata=metadata,
        )

    @property
    def sensor_type(self) -> SensorType:
        """By which the UI shows it among those on runs."""
        return SensorType.RUN_STATUS

    def with_attributes(
        self,
        *,
        jobs: Sequence[Any] | None = None,  # noqa: ARG002 (it starts none)
        metadata: Mapping[str, Any] | None = None,
    ) -> SensorDefinition:
        """A copy, as Dagster makes one of each sensor of a component."""
        kept = self.metadata if metadata is None else metadata
        name, status, react = self._made_from
        return RunWatcher(
            name, status, react, table=self.table, description=self.description or "", metadata=kept
        )  # fmt: skip


def _evaluate(
    context: SensorEvaluationContext, name: str, status: DagsterRunStatus, react: React
) -> Iterator[SkipReason | DagsterRunReaction]:
    looked, waiting = read_cursor(context.cursor)
    context.update_cursor(looked)
    tick = _Tick(status, react, waiting)

    def look_at(context: RunStatusSensorContext) -> SkipReason | DagsterRunReaction:
        return tick.look_at(context)

    one = RunStatusSensorDefinition(name=name, run_status=status, run_status_sensor_fn=look_at)
    for _ in range(MOST_RUNS):
        before = context.cursor
        try:
            one.evaluate_tick(context)
        except Exception as error:
            if not tick.reactions:
                raise
            # A tick that fails keeps no cursor, so that the next would react to the same runs again.
            context.log.warning(f"The tick ends early ({type(error).__name__}); the next goes on behind these runs")
            break
        if tick.waiting is not None:
            # As if it had not been looked at.
            context.update_cursor(tick.waiting.as_cursor(before))
        if tick.is_over or context.cursor == before:
            break
    yield from tick.reactions
    if not tick.reactions:  # Dagster takes no reason beside them
        yield SkipReason(tick.reason)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A run that is to be looked at again, and since when that is so."""

    run_id: str
    since: float

    def as_cursor(self, looked: str | None) -> str:
        """With Dagster's own cursor, which stands before that run."""
        return json.dumps({"looked": looked, "run": self.run_id, "since": self.since})


def read_cursor(cursor: str | None) -> tuple[str | None, _Waiting | None]:
    """Dagster's own cursor, and the run that was put off."""
    try:
        kept = json.loads(cursor or "null")
    except ValueError:
        return cursor, None
    if not isinstance(kept, dict) or not {"looked", "run", "since"} <= kept.keys():
        return cursor, None
    return kept["looked"], _Waiting(kept["run"], kept["since"])


class _Tick:
    """What came of the runs that a tick has looked at."""

    def __init__(self, status: DagsterRunStatus, react: React, waiting: _Waiting | None) -> None:
        self._status, self._react, self._waited = status, react, waiting
        self._until = time.monotonic() + MOST_SECONDS
        self.reactions: list[DagsterRunReaction] = []
        self.reason = f"no further run has ended as {status.value}"
        self.is_over = False
        self.waiting: _Waiting | None = None

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
        if isinstance(outcome, Failed) and outcome.may_pass:
            self._put_off(context.dagster_run.run_id)
        return SkipReason(self.reason)

    def _put_off(self, run_id: str) -> None:
        """Let the next tick look at this run again, unless that was done for long enough."""
        known = self._waited is not None and self._waited.run_id == run_id
        waiting = self._waited if known else None
        waiting = waiting or _Waiting(run_id, time.time())
        if time.time() - waiting.since < AGAIN_SECONDS:
            self.waiting = waiting
            self.reason += ". The next tick tries again"
        else:
            self.reason += f". It was tried for {AGAIN_SECONDS / 60:.0f} minutes and is tried no more"
