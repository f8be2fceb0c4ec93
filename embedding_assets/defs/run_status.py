"""A run that Dagster has ended, as it is seen from inside: nothing interrupts one whose code server is gone."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from dagster import DagsterExecutionInterruptedError, DagsterRunStatus

if TYPE_CHECKING:
    from dagster import AssetCheckExecutionContext, AssetExecutionContext

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 10.0
"""Between two looks, each of one row."""

_ENDED: Final = (DagsterRunStatus.CANCELING, DagsterRunStatus.CANCELED, DagsterRunStatus.FAILURE)


class RunStatus:
    """Called now and then in a step; ends it once Dagster calls its run cancelled or failed, or has deleted it."""

    def __init__(self, context: AssetExecutionContext | AssetCheckExecutionContext) -> None:
        self._instance, self._run_id = context.instance, context.run.run_id
        self._looked = time.monotonic()
        self._known = False

    def __call__(self) -> None:
        """Look, unless that was just done.

        Raises:
            DagsterExecutionInterruptedError: the run is over; the same that terminating it raises.
        """
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        try:
            run = self._instance.get_run_by_id(self._run_id)
        except Exception as error:  # noqa: BLE001 (of whatever storage; the work itself needs none of it)
            logger.warning("whether this run was cancelled is not known: %s", type(error).__name__)
            return
        if run is None and not self._known:
            return  # of an instance that keeps none
        self._known = True
        if run is None or run.status in _ENDED:
            logger.warning("Dagster calls this run %s, so it stops", run.status.value.lower() if run else "deleted")
            raise DagsterExecutionInterruptedError
