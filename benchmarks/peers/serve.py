"""A worker's side of the conversation: ready once, then one JSON answer for each line it is sent."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

from peak import peak_memory_mb

Answer = dict[str, Any]
Prepare = Callable[[], tuple[Answer, Callable[[str], Answer]]]


def serve(prepare: Prepare) -> None:
    """Make ready and say so, then work once for each line on standard input.

    Args:
        prepare: returns what to say when ready, and a function that does what a line says and returns an answer, which
            gets the peak memory added.
    """
    # Libraries print to standard output too, which is kept for answers.
    with os.fdopen(os.dup(1), "w", buffering=1) as answers:
        os.dup2(2, 1)
        try:
            facts, work = prepare()
            print(json.dumps(facts), file=answers)
            for line in sys.stdin:
                print(json.dumps(work(line.strip()) | {"peak_memory_mb": peak_memory_mb()}), file=answers)
        except Exception as error:
            lines = str(error).strip().splitlines() or [""]
            print(json.dumps({"error": f"{type(error).__name__}: {lines[0]}"}), file=answers)
            raise
