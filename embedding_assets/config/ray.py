"""Settings of a Ray cluster that embeds."""

from __future__ import annotations

import re

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from embedding_assets.config.environment import EnvironmentSettings


def _is_host_and_port(text: str) -> bool:
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):([0-9]{1,5})", text)
    return found is not None and 0 < int(found[2]) < 2**16


class RayConfig(EnvironmentSettings):
    """Workers on a Ray cluster, which embed instead of the process that runs the command or the asset."""

    model_config = SettingsConfigDict(env_prefix="EMBEDDING_RAY_")

    address: str | None = Field(
        None,
        description="`HOST:PORT` of a cluster, `auto` for the one that runs on this machine, `local` for one that is "
        "started for the run and ends with it. Unset: no Ray.",
    )
    workers: int | None = Field(
        None, ge=1, le=10_000, description="Processes that embed. Unset: one for each GPU, or else for each node."
    )
    gpus_per_worker: float | None = Field(
        None,
        ge=0,
        le=64,
        description="GPUs of a worker; a share such as 0.5 lets two have one. Unset: 1 where the cluster has some and "
        "the model is local.",
    )
    cpus_per_worker: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="Cores of a worker, which computes with so many threads. Unset: 1 beside a GPU, else a fair share "
        "of the cores.",
    )

    @field_validator("address")
    @classmethod
    def _address_is_one(cls, value: str | None) -> str | None:
        if value is not None and "://" in value:
            raise ValueError(
                "is not HOST:PORT, auto or local; the run joins the cluster itself, so start it on one of its nodes "
                "(`ray job submit` does) instead of by ray://"
            )
        if value not in {None, "auto", "local"} and not _is_host_and_port(value or ""):
            raise ValueError("is not HOST:PORT as `ray start --head` prints it, auto or local")
        return value

    @field_validator("gpus_per_worker")
    @classmethod
    def _gpus_are_whole_or_a_share_of_one(cls, value: float | None) -> float | None:
        if value is not None and value > 1 and value != int(value):
            raise ValueError("is neither a share of one GPU nor a whole number of them")
        return value
