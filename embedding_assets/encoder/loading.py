"""A model's weights go where they belong, all of them, and its own code is never needed: otherwise it is refused.

The library goes on with random weights where some are missing, and leaves out those that it has no place for.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from embedding_assets.errors import ModelUnavailableError

if TYPE_CHECKING:
    from embedding_assets.encoder.files import ModelFiles

_NO_WEIGHTS: Final = ("position_ids", "token_type_ids", "inv_freq", "masked_bias")
"""Names of tables that are computed, which older files hold as well."""

_POOLER: Final = "pooler"
"""The part of a model that is not used here, and often left out."""


_loading = threading.RLock()


def _renew_lock() -> None:
    global _loading  # noqa: PLW0603 (a thread of the parent may have held it, and is not here)
    _loading = threading.RLock()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_renew_lock)


def check_code(name: str, transformer: Path) -> None:
    """Refuse a model that is computed by code of its repository, which is never run.

    A model that the library has a class of that name for was taken over into the library.

    Raises:
        ModelUnavailableError: its configuration names other code, perhaps under a type that the library knows.
    """
    config = json.loads((transformer / "config.json").read_text(encoding="utf-8"))
    code = config.get("auto_map")
    if not code:
        return
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    own = MODEL_MAPPING_NAMES.get(config.get("model_type"), ())
    wanted = str(code.get("AutoModel", "")).rpartition(".")[2] if isinstance(code, dict) else ""
    if wanted not in ((own,) if isinstance(own, str) else own):
        raise ModelUnavailableError(
            f"model {name} needs code of its own repository ({wanted or 'auto_map in config.json'}), which is never "
            "run; choose another EMBEDDING_MODEL_NAME, or serve it and set EMBEDDING_OPENAI_BASE_URL to that server"
        )


def check_code_of(files: ModelFiles) -> None:
    """The same for all transformers among a model's layers."""
    for kind, folder in files.modules:
        if kind == "Transformer":
            check_code(files.name, folder)


def cannot_be_loaded(files: ModelFiles, error: Exception) -> ModelUnavailableError:
    """The error for whatever the libraries raise when they stumble over damaged files."""
    return ModelUnavailableError(
        f"the files of model {files.name} in {files.path} cannot be loaded ({type(error).__name__}: {error}); "
        "if the folder is damaged, remove it so that it is fetched again"
    )


@contextmanager
def checked_loading(name: str, *, setting: str = "EMBEDDING_MODEL_NAME") -> Iterator[None]:
    """Every model of the library that is loaded within has exactly the weights of its files.

    Args:
        name: the model's, for errors.
        setting: the variable that names the model.

    Raises:
        ModelUnavailableError: weights are missing, left over or of another shape.
    """
    from transformers import PreTrainedModel
    from transformers.utils import logging

    # A progress bar of its own would tear the command line's.
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    models: Any = PreTrainedModel

    def from_pretrained(cls: type[PreTrainedModel], *arguments: Any, **options: Any) -> Any:
        if options.get("output_loading_info"):
            return original.__func__(cls, *arguments, **options)
        model, report = original.__func__(cls, *arguments, **options, output_loading_info=True)
        _check_weights(name, setting, model, report)
        return model

    # One after the other, or the last to end would put back what the first had put there.
    with _loading:
        original = models.__dict__["from_pretrained"]
        # The package makes its models itself, and passes no report on.
        models.from_pretrained = classmethod(from_pretrained)
        try:
            yield
        finally:
            models.from_pretrained = original


def may_be_left(name: str, parts: Collection[str]) -> bool:
    """True for a weight without which a model computes the same: of the pooler, of a head, or a computed table.

    Args:
        name: without the prefix of the model.
        parts: of which the model consists.
    """
    part = name.partition(".")[0]
    # What belongs to no part of the model is a head for another task.
    return part == _POOLER or part not in parts or name.endswith(_NO_WEIGHTS)


def _check_weights(name: str, setting: str, model: Any, report: dict[str, Any]) -> None:
    missing = sorted(key for key in report["missing_keys"] if not key.startswith(f"{_POOLER}."))
    parts = {part for part, _ in model.named_children()}
    prefix = f"{model.base_model_prefix}."
    left = sorted(key for key in report["unexpected_keys"] if not may_be_left(key.removeprefix(prefix), parts))
    misshapen = sorted(str(key[0] if isinstance(key, tuple) else key) for key in report["mismatched_keys"])
    for found, fault in ((missing, "are missing"), (left, "are left over"), (misshapen, "have another shape")):
        if found:
            raise ModelUnavailableError(
                f"{len(found)} weights of model {name} {fault}, e.g. {found[0]}: its files are damaged, or of a "
                f"kind that the installed transformers does not know; choose another {setting}"
            )
