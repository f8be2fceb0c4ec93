"""Workers on nodes."""

import pytest

from embedding_assets.config import RayConfig
from embedding_assets.distribution.layout import Layout, Node, plan_layout
from embedding_assets.errors import ClusterError

LAPTOP = [Node("laptop", 8, 0)]
CPU_NODES = [Node("a", 16, 0), Node("b", 16, 0), Node("c", 8, 0)]
GPU_NODES = [Node("head", 4, 0), Node("g1", 32, 4), Node("g2", 32, 2)]


@pytest.mark.parametrize(
    ("nodes", "asked", "may_use_gpus", "layout"),
    [
        (LAPTOP, {}, True, Layout(1, 8, 0)),
        (LAPTOP, {"workers": 2}, True, Layout(2, 4, 0)),
        (LAPTOP, {"workers": 3}, True, Layout(3, 2, 0)),
        (LAPTOP, {"cpus_per_worker": 2}, True, Layout(4, 2, 0)),
        (CPU_NODES, {}, True, Layout(5, 8, 0)),
        (CPU_NODES, {"workers": 4}, True, Layout(4, 8, 0)),
        (CPU_NODES, {"workers": 40}, True, Layout(40, 1, 0)),
        (GPU_NODES, {}, True, Layout(6, 1, 1)),
        (GPU_NODES, {"workers": 2}, True, Layout(2, 1, 1)),
        (GPU_NODES, {"gpus_per_worker": 0.5}, True, Layout(12, 1, 0.5)),
        (GPU_NODES, {"gpus_per_worker": 0.4}, True, Layout(12, 1, 0.4)),
        (GPU_NODES, {"gpus_per_worker": 2, "cpus_per_worker": 16}, True, Layout(3, 16, 2)),
        (GPU_NODES, {"gpus_per_worker": 0}, True, Layout(17, 4, 0)),
        (GPU_NODES, {}, False, Layout(17, 4, 0)),
    ],
)
def test_workers_by_what_the_cluster_has(nodes, asked, may_use_gpus, layout):
    assert plan_layout(nodes, RayConfig(**asked), may_use_gpus=may_use_gpus) == layout


@pytest.mark.parametrize(
    ("nodes", "asked", "said"),
    [
        (LAPTOP, {"workers": 9}, "no room for 9 workers of 1 CPUs (laptop has 8 CPUs and 0 GPUs: 8 fit)"),
        (LAPTOP, {"workers": 1, "gpus_per_worker": 1}, "no room for 1 worker of 1 CPUs and 1 GPUs"),
        (LAPTOP, {"cpus_per_worker": 16}, "no room for 1 worker of 16 CPUs"),
        (GPU_NODES, {"gpus_per_worker": 3, "workers": 2}, "1 fit"),
        ([], {}, "no node is there"),
    ],
)
def test_too_little_is_said(nodes, asked, said):
    with pytest.raises(ClusterError) as refused:
        plan_layout(nodes, RayConfig(**asked), may_use_gpus=True)
    assert said in str(refused.value)
    assert "--workers" in str(refused.value)
