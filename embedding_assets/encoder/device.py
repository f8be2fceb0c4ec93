"""The device that computes, and what fits on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from embedding_assets.encoder.places import freest
from embedding_assets.errors import ConfigurationError
from embedding_assets.imports import without_collection

if TYPE_CHECKING:
    from embedding_assets.encoder.precision import Precision

_CPU_BATCH_TOKENS: Final = {"float32": 384, "bfloat16": 2048, "int8": 384}
"""Matrix units want large products; vector units are as fast on small ones, which keep a full-size MPNet below 1 GB."""

_STREAM_TOKENS: Final = 768
"""One thread is as fast on these as on more, and all streams hold temporaries at once."""

_GPU_BATCH_TOKENS: Final = 32_768


def resolve_device(requested: str) -> str:
    """The torch device for ``auto`` (CUDA, then MPS, then CPU), ``cpu``, ``mps``, ``cuda`` or ``cuda:N``.

    Raises:
        ConfigurationError: a device was asked for that is not there.
    """
    with without_collection():
        # A run asks for its device before it loads the model, so that torch comes with this.
        import torch

    cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    mps = torch.backends.mps.is_available()
    if requested == "auto":
        return f"cuda:{freest(_uuids(cuda))}" if cuda else "mps" if mps else "cpu"
    kind, _, number = requested.partition(":")
    available = {"cpu": True, "mps": mps, "cuda": int(number or 0) < cuda}[kind]
    if not available:
        raise ConfigurationError(
            f"EMBEDDING_DEVICE: {requested} is not available here ({cuda} CUDA devices, MPS {'yes' if mps else 'no'}); "
            "use auto or cpu"
        )
    return f"cuda:{number or 0}" if kind == "cuda" else kind


def _uuids(devices: int) -> list[str]:
    import torch

    return [str(torch.cuda.get_device_properties(index).uuid) for index in range(devices)] if devices > 1 else ["one"]


def default_batch_tokens(device: str, precision: Precision, streams: int = 1) -> int:
    """Padded tokens of a forward pass that suit a device, on which so many are computed side by side."""
    if device != "cpu":
        return _GPU_BATCH_TOKENS
    most = _CPU_BATCH_TOKENS[precision]
    return most if streams == 1 else min(most, _STREAM_TOKENS)


def default_batch_texts(device: str) -> int:
    """Texts of a forward pass that suit a device: on a GPU those of a few words each are not to leave it idle."""
    return 32 if device == "cpu" else 2048


def width_multiple(device: str, precision: Precision) -> int:
    """Tokens to whose multiple a batch is padded.

    Matrix units compute tiles: attention over 157 tokens takes twice as long as over 160. Vector units do not, so there
    padding would only cost.
    """
    return 1 if device == "cpu" and precision != "bfloat16" else 16


def is_out_of_memory(error: BaseException) -> bool:
    """True if a smaller batch may succeed. Only CUDA has an exception type of its own for this."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    message = str(error)
    return isinstance(error, RuntimeError) and ("out of memory" in message or "can't allocate memory" in message)
