"""Variables that look like settings and are none, such as a misspelt one, which would otherwise do nothing silently."""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Collection
from typing import Final

logger = logging.getLogger(__name__)

_PREFIX: Final = "EMBEDDING_"

_REPLACED: Final = {"EMBEDDING_INDEX_OPERATOR_CLASS": "EMBEDDING_SIMILARITY"}
"""Variables of earlier versions, and what does their work now."""

_warned: set[str] = set()


def warn_of_unknown(known: Collection[str]) -> None:
    """Warn once a process of each variable that begins like a setting and is none; values are not shown."""
    for name in sorted({variable.upper() for variable in os.environ} - set(known) - _warned):
        if name.startswith(_PREFIX):
            _warned.add(name)
            advice = _advice(name, known)
            logger.warning("%s is not a setting and does nothing%s", name, advice, extra={"setting": name})


def _advice(name: str, known: Collection[str]) -> str:
    if name in _REPLACED:
        return f"; {_REPLACED[name]} replaces it"
    # By what follows the prefix: with it, all names would be alike.
    endings = {setting.removeprefix(_PREFIX): setting for setting in known}
    nearest = difflib.get_close_matches(name.removeprefix(_PREFIX), endings, n=1)
    return f"; did you mean {endings[nearest[0]]}?" if nearest else "; unset it"
