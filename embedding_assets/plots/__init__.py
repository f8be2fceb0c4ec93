"""Figures of the backlog, the runs, the costs, the index and the embeddings, each in full and at a glance."""

from embedding_assets.plots.backlog import backlog_figure, backlog_glance
from embedding_assets.plots.costs import cost_figure, cost_glance
from embedding_assets.plots.map import map_figure
from embedding_assets.plots.picture import Picture, gallery
from embedding_assets.plots.points import CurvePoint, DayCost, PrefixCounts, RunPoint
from embedding_assets.plots.searching import latency_figure, latency_glance, recall_figure, recall_glance
from embedding_assets.plots.throughput import throughput_figure, throughput_glance

__all__ = [
    "CurvePoint",
    "DayCost",
    "Picture",
    "PrefixCounts",
    "RunPoint",
    "backlog_figure",
    "backlog_glance",
    "cost_figure",
    "cost_glance",
    "gallery",
    "latency_figure",
    "latency_glance",
    "map_figure",
    "recall_figure",
    "recall_glance",
    "throughput_figure",
    "throughput_glance",
]
