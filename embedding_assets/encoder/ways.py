"""The ways in which a model can be computed here, the fastest first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from embedding_assets.encoder.files import ModelFiles
from embedding_assets.encoder.fused import can_be_fused, fuse
from embedding_assets.encoder.layers import (
    Layers,
    has_known_layers,
    load_known_layers,
    load_transformer,
    load_weights,
    mapped_pages,
    model_type,
)
from embedding_assets.encoder.loading import check_code_of
from embedding_assets.encoder.package import PackageLayers, load_by_package
from embedding_assets.encoder.precision import Precision


class Way(NamedTuple):
    """How a model is computed.

    Attributes:
        code: layers fused here; the library's transformer with the other layers of ours; or the package, whole.
        precision: in which the transformer computes.
    """

    code: Literal["fused", "layers", "package"]
    precision: Precision


def ways(files: ModelFiles, device: str, precision: Precision) -> Iterator[Way]:
    """In which a model can be computed on a device; reads configuration files only."""
    known = has_known_layers(files)
    if precision == "int8":
        # Nothing else stands in for it: those vectors would be of another space.
        if known and can_be_fused(model_type(files)):
            yield Way("fused", precision)
        return
    if known and can_be_fused(model_type(files)):
        for wanted in dict.fromkeys((precision, "float32")):
            yield Way("fused", wanted)
    # On a CPU the libraries' own code is slower in bfloat16, since it lays the weights out at every call.
    others = dict.fromkeys((precision, "float32") if device.startswith("cuda") else ("float32",))
    if known:
        yield from (Way("layers", wanted) for wanted in others)
    yield from (Way("package", wanted) for wanted in others)


def load_layers(files: ModelFiles, device: str, max_tokens: int, way: Way) -> Layers:
    """The model on a device, in evaluation mode.

    Raises:
        ModelUnavailableError: it needs code of its own, or weights are missing or left over.
        Exception: the files are damaged; the libraries raise whatever they stumble over.
    """
    import torch

    check_code_of(files)
    if way.code == "package":
        model = load_by_package(files, max_tokens, way.precision)
        return PackageLayers(model, max_tokens).eval().to(device)
    dtype: torch.dtype = getattr(torch, way.precision)
    transformer: torch.nn.Module
    if way.code == "fused":
        weights = load_weights(files)
        transformer = fuse(weights, dtype, device, after_layer=mapped_pages(files, weights).drop)
    else:
        transformer = load_transformer(files).to(dtype)
    return load_known_layers(files, max_tokens, transformer).eval().to(device)
