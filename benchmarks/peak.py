"""Peak memory of a process. Needs the standard library alone: peers' environments import it too."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path


def peak_memory_mb() -> float:
    """Highest resident memory of this process so far, megabytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # The peak in getrusage(2) begins with that of the process that started this one.
        match = re.search(r"^VmHWM:\s*(\d+) kB$", status.read_text(), re.MULTILINE)
        if match:
            return int(match[1]) * 1024 / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
