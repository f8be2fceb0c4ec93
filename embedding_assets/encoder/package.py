"""Models whose layers are not all known here, computed by sentence-transformers: its tokens, its forward pass."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

from embedding_assets.encoder.files import ModelFiles
from embedding_assets.encoder.layers import Layers
from embedding_assets.encoder.loading import checked_loading
from embedding_assets.encoder.precision import Precision
from embedding_assets.encoder.tokens import Beginning, Role, TokenizedText, Tokens

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_UNCUT: Final = {"text": {"truncation": False, "verbose": False}}


class PackageLayers(Layers):
    """All layers of a model, as its package computes them."""

    def __init__(self, model: SentenceTransformer, max_tokens: int) -> None:
        tokens = _PackageTokens(model, max_tokens)
        super().__init__(tokens, int(getattr(model.tokenizer, "pad_token_id", 0) or 0))
        self._prompt_length = tokens.prompt_length
        self._model = model

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        *,
        padded: bool,  # noqa: ARG002
        role: Role,
    ) -> Tensor:
        task = _task(role)
        features: dict[str, Any] = {"input_ids": input_ids, "attention_mask": attention_mask}
        if role.prompt:
            # For models whose pooling leaves the prompt out.
            features["prompt_length"] = self._prompt_length(role)
        vectors: Tensor = self._model.forward(features, task=task)["sentence_embedding"]
        return vectors


class _PackageTokens(Tokens):
    def __init__(self, model: SentenceTransformer, max_tokens: int) -> None:
        super().__init__(max_tokens)
        self._model = model
        # What is cut, and where, is a state of the tokenizer.
        self._lock = threading.Lock()
        # Then the end of a text counts, and the tokens of its beginning say nothing.
        self._cuts_from_left = getattr(model.tokenizer, "truncation_side", "right") == "left"

    def _beginnings(self, texts: Sequence[str], role: Role) -> list[Beginning]:
        ids = self._ids(texts, role)
        lengths = [len(row) for row in self._ids(texts, role, processing_kwargs=_UNCUT)]
        return [
            Beginning(
                TokenizedText(row, length > len(row)),
                suffices=length > len(row) and length >= 2 * len(row) and not self._cuts_from_left,
            )
            for row, length in zip(ids, lengths, strict=True)
        ]

    def prompt_length(self, role: Role) -> Any:
        """Tokens that the prompt takes at the beginning of a text; None: the model does not care."""
        with self._lock:
            return self._model.preprocess(["x"], prompt=role.prompt, task=_task(role)).get("prompt_length")

    def _ids(self, texts: Sequence[str], role: Role, **options: Any) -> list[list[int]]:
        with self._lock:
            features = self._model.preprocess(list(texts), prompt=role.prompt or None, task=_task(role), **options)
        if "input_ids" not in features or "attention_mask" not in features:
            raise ValueError("its layers do not compute from tokens")
        rows = zip(features["input_ids"], features["attention_mask"], strict=True)
        return [ids[mask == 1].tolist() for ids, mask in rows]


def load_by_package(files: ModelFiles, max_tokens: int, precision: Precision = "float32") -> SentenceTransformer:
    """The model as its package loads it, on the CPU, cut to ``max_tokens`` where it would read more.

    Raises:
        ModelUnavailableError: weights are missing or left over.
        Exception: the files are damaged; the libraries raise whatever they stumble over.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer

    with checked_loading(files.name):
        model = SentenceTransformer(
            str(files.path),
            device="cpu",
            local_files_only=True,
            trust_remote_code=False,
            # Else the package computes in whatever format the file has.
            model_kwargs={"use_safetensors": True, "dtype": torch.float32},
        )
    # A router has several of them.
    for module in model.modules():
        if isinstance(module, Transformer):
            module.max_seq_length = min(module.max_seq_length or max_tokens, max_tokens)
    return model.to(getattr(torch, precision)).eval()


def _task(role: Role) -> str:
    return "query" if role.query else "document"
