"""The options of ``embed`` for a Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from embedding_assets.errors import ConfigurationError

if TYPE_CHECKING:
    from embedding_assets.config import Settings

_PANEL = "Ray"

RayAddress = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="[ADDRESS]",
        help="Embed on a Ray cluster: HOST:PORT, or auto for the one on this machine. Without ADDRESS: that of "
        "RAY_ADDRESS, or one that is started for this run. Nodes need the same packages, and EMBEDDING_DATABASE_URL "
        "and keys in the environment of `ray start`; other settings are sent. Default: EMBEDDING_RAY_ADDRESS, or no "
        "Ray.",
        rich_help_panel=_PANEL,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="Processes that embed. Default: one a GPU, or else a node.", rich_help_panel=_PANEL),
]
GpusPerWorker = Annotated[
    float | None, typer.Option(min=0, help="GPUs of each; 0.5: two share one.", rich_help_panel=_PANEL)
]
CpusPerWorker = Annotated[
    int | None, typer.Option(min=1, help="Cores of each, and threads it computes with.", rich_help_panel=_PANEL)
]


class RayCommand(TyperCommand):
    """A command whose option ``--ray`` may stand alone."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give a lone ``--ray`` its value."""
        given: list[str] = []
        for argument, following in pairwise([*args, "-"]):
            given.append(argument)
            if argument == "--ray" and following.startswith("-"):
                given.append(os.environ.get("RAY_ADDRESS") or "local")
        return super().parse_args(ctx, given)


def with_ray(settings: Settings, address: str | None, values: Mapping[str, object]) -> Settings:
    """The settings with what the options say.

    Raises:
        ConfigurationError: they need a cluster, and none is chosen.
    """
    given = {name: value for name, value in values.items() if value is not None}
    if given and address is None and settings.ray.address is None:
        named = " and ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ConfigurationError(f"{named} says how a Ray cluster is used; add --ray")
    if address is not None:
        given["address"] = address
    return settings.with_group("ray", **given) if given else settings
