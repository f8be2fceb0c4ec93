"""Whether workers get GPUs of the cluster, by the device that is asked for."""

from dataclasses import replace

import pytest

from embedding_assets.config import Settings
from embedding_assets.distribution.engine import _layout
from embedding_assets.distribution.layout import Layout, Node
from embedding_assets.errors import ClusterError, ConfigurationError
from embedding_assets.pipeline.run import Load
from embedding_assets.planning import PrefixRange
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.spaces import register_space
from embedding_assets.providers.space_selection import Selection
from embedding_assets_tests.support.fakes import FAKE_SPACE


class Nodes:
    """A cluster that has them."""

    def __init__(self, gpus: int) -> None:
        self.gpus = gpus

    def nodes(self) -> list[Node]:
        return [Node("a", 4, self.gpus)]


def layout_for(settings: Settings, database: Database, device: str, gpus: int, asked: float | None) -> Layout:
    settings = settings.with_embedding(device=device).with_group("ray", gpus_per_worker=asked)
    column = register_space(database, replace(FAKE_SPACE, provider="local"))
    load = Load(settings, database, Selection(settings, column, database), PrefixRange("0", "f"), 1, None, None)
    return _layout(load, Nodes(gpus))


@pytest.mark.parametrize(
    ("device", "gpus", "asked", "layout"),
    [
        ("auto", 0, None, Layout(1, 4, 0)),
        ("auto", 2, None, Layout(2, 1, 1)),
        ("auto", 2, 0, Layout(1, 4, 0)),
        ("cpu", 2, None, Layout(1, 4, 0)),
        ("cuda", 2, None, Layout(2, 1, 1)),
        ("cuda:1", 2, None, Layout(2, 1, 1)),
    ],
)
def test_workers_get_gpus_where_the_device_may_be_one(settings, database, device, gpus, asked, layout):
    assert layout_for(settings, database, device, gpus, asked) == layout


@pytest.mark.parametrize(
    ("device", "gpus", "asked", "error", "said"),
    [
        ("cuda", 0, None, ClusterError, "EMBEDDING_DEVICE=cuda asks for a GPU"),
        ("cuda:1", 2, 0, ClusterError, "EMBEDDING_DEVICE=cuda:1 asks for a GPU"),
        ("cpu", 2, 1, ConfigurationError, "EMBEDDING_DEVICE=cpu has no use for GPUs"),
    ],
)
def test_no_other_device_takes_the_place_of_the_one_that_is_asked_for(
    settings, database, device, gpus, asked, error, said
):
    with pytest.raises(error, match=said):
        layout_for(settings, database, device, gpus, asked)
