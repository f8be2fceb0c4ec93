"""Where in somebody's project a table's definitions are made: what Dagster links to as their code."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dagster import BetaWarning, CodeReferencesMetadataValue, LocalFileCodeReference, map_asset_specs

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType

    from dagster import AssetsDefinition, AssetSpec

_PACKAGE: Final = Path(__file__).parents[1]
_LABEL: Final = "build_embedding_definitions"
_KEY: Final = "dagster/code_references"


def reference_to_caller() -> CodeReferencesMetadataValue | None:
    """The file and line that asked the package for definitions.

    None where that is no file, as in a notebook, or Dagster, which refers to the file of a component by itself.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and Path(frame.f_code.co_filename).is_relative_to(_PACKAGE):
        frame = frame.f_back
    if frame is None or _is_dagster(frame) or not Path(frame.f_code.co_filename).is_file():
        return None
    file = str(Path(frame.f_code.co_filename).absolute())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BetaWarning)  # as for the definitions
        reference = LocalFileCodeReference(file_path=file, line_number=frame.f_lineno, label=_LABEL)
        return CodeReferencesMetadataValue(code_references=[reference])


def with_reference(
    assets: Iterable[AssetsDefinition | AssetSpec], reference: CodeReferencesMetadataValue | None
) -> Iterable[AssetsDefinition | AssetSpec]:
    """The assets, which refer to that code."""
    if reference is None:
        return assets
    return map_asset_specs(lambda spec: spec.merge_attributes(metadata={_KEY: reference}), assets)


def _is_dagster(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] == "dagster"
