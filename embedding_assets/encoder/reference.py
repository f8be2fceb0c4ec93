"""What a model's own library makes of awkward texts.

In a process of its own: importing sentence-transformers takes some 280 MB, which this process does without.
"""

from __future__ import annotations

import json
import logging
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embedding_assets.encoder.device import is_out_of_memory
from embedding_assets.encoder.files import ModelFiles
from embedding_assets.encoder.loading import cannot_be_loaded
from embedding_assets.encoder.threads import available_threads, in_new_thread
from embedding_assets.encoder.tokens import Role
from embedding_assets.errors import ModelUnavailableError

logger = logging.getLogger(__name__)

AWKWARD_TEXTS: Final = (
    "A sentence as most of them are.",
    "Typed By SomeBody WHO likes CAPITALS, iPhones and HTML.",
    "Crème brûlée, naïve façade, Ångström, São Paulo, smørrebrød, žluťoučký kůň",
    "cafe\u0301 with an accent of its own, ﬁne ligatures, ½ and ² and ™",
    "東京は日本の首都です。人工智能正在改变世界。",
    "Москва — столица России; Αθήνα, תל אביב, القاهرة",
    "한국어와 ภาษาไทย และ हिन्दी",
    "😀 👩‍👩‍👧‍👦 🇩🇪 ✅",
    "zero\u200bwidth\u200djoiners and a soft\u00adhyphen",
    "[CLS] special [SEP] tokens </s> <s> <pad> [MASK] <|endoftext|>",
    "  leading, inner   and trailing space \t\n",
    "first line\nsecond line\r\n\r\n- a list\n- of two",
    "def main(argv: list[str]) -> int:\n    return len(argv) // 2  # comment",
    "https://example.com/a/b?c=d&e=%20f#g",
    "Part no. AX-1048/B, 3.14159, 1,000,000 and 12:30 on 2024-02-29",
    "x",
    ".",
    " ",
    "Donaudampfschifffahrtsgesellschaftskapitän" * 6,
    "A paragraph of some length, which says little and takes its time to say it; " * 4,
)


_LONGEST_SECONDS: Final = 900.0
"""For the other process; a model of billions of parameters takes minutes on a CPU."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The library's vectors of texts, each computed alone and in float32."""

    texts: list[str]
    role: Role
    vectors: NDArray[np.float32]


def references(files: ModelFiles, device: str, max_tokens: int) -> list[Reference]:
    """Of documents, and of queries.

    Raises:
        ModelUnavailableError: the library cannot compute them.
    """
    # In a frozen program, what is called the interpreter is the program itself.
    computed = None if getattr(sys, "frozen", False) else _compute_elsewhere(files, device, max_tokens)
    if computed is not None:
        return computed
    try:
        return _compute(files, device, max_tokens)
    except ModelUnavailableError:
        raise
    except Exception as error:
        raise cannot_be_loaded(files, error) from error


def _compute_elsewhere(files: ModelFiles, device: str, max_tokens: int) -> list[Reference] | None:
    """In a process of its own; None if that failed.

    Then it fails here in the same way, with an error to show; or the interpreter is part of another program.
    """
    with tempfile.TemporaryDirectory(prefix="embedding-assets-") as folder:
        answer = Path(folder) / "vectors.npz"
        order = {"name": files.name, "revision": files.revision, "path": str(files.path)}
        try:
            subprocess.run(  # noqa: S603 (this interpreter, no shell; without what lies in the working directory)
                [sys.executable, "-P", "-m", __name__, str(answer)],
                input=json.dumps({"files": order, "device": device, "max_tokens": max_tokens}).encode(),
                env={**os.environ, **_variables(device)},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=True,
                timeout=_LONGEST_SECONDS,
            )
            return _read(answer, files, max_tokens)
        except (OSError, ValueError, TypeError, KeyError, subprocess.SubprocessError) as error:
            reason = type(error).__name__
    logger.debug("the library's vectors are computed in this process: none other could (%s)", reason)
    return None


def _variables(device: str) -> dict[str, str]:
    import torch

    # Neither the number of this process's threads nor its path is inherited.
    threads = in_new_thread(torch.get_num_threads) if device == "cpu" else available_threads().count
    return {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def _compute(files: ModelFiles, device: str, max_tokens: int) -> list[Reference]:
    try:
        return _compute_on(device, files, max_tokens)
    except Exception as error:
        if device == "cpu" or not is_out_of_memory(error):
            raise
    # In float32 it may be too large for the device.
    return _compute_on("cpu", files, max_tokens)


def _compute_on(device: str, files: ModelFiles, max_tokens: int) -> list[Reference]:
    from embedding_assets.encoder.package import load_by_package

    model = load_by_package(files, max_tokens).to(device)
    # What is cut is cut later.
    model.truncate_dim = None
    texts = _texts(max_tokens)
    if math.isinf(model.max_seq_length or max_tokens):
        texts.pop()
    document, query = _roles(files)
    return [
        _encode(texts, document, lambda text: model.encode_document(text, prompt=document.prompt)),
        _encode(texts, query, lambda text: model.encode_query(text, prompt=query.prompt)),
    ]


def _encode(texts: list[str], role: Role, encode: Callable[[str], NDArray[np.float32]]) -> Reference:
    """Vectors of the texts, one by one, so that padding counts; without those that the library itself fails at."""
    vectors: dict[str, NDArray[np.float32]] = {}
    failure: Exception | None = None
    for text in texts:
        try:
            vectors[text] = encode(text)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            failure = error
    if failure is not None and not vectors:
        raise failure
    return Reference([*vectors], role, np.stack([*vectors.values()]))


def _texts(max_tokens: int) -> list[str]:
    """The last is longer than a model reads."""
    return [*AWKWARD_TEXTS, " ".join(f"word{number}" for number in range(max_tokens))]


def _roles(files: ModelFiles) -> tuple[Role, Role]:
    """Of documents as they are, and of queries with a prompt in any case."""
    return Role(files.prompt), Role(files.query_prompt or "query: ", query=True)


def _read(answer: Path, files: ModelFiles, max_tokens: int) -> list[Reference]:
    texts = _texts(max_tokens)
    with np.load(answer) as arrays:
        return [
            Reference([texts[row] for row in arrays[f"rows{number}"]], role, arrays[f"vectors{number}"])
            for number, role in enumerate(_roles(files))
        ]


def _main() -> None:
    order = json.load(sys.stdin)
    files = ModelFiles(order["files"]["name"], order["files"]["revision"], Path(order["files"]["path"]))
    texts = _texts(order["max_tokens"])
    arrays = {}
    for number, reference in enumerate(_compute(files, order["device"], order["max_tokens"])):
        arrays[f"rows{number}"] = np.array([texts.index(text) for text in reference.texts])
        arrays[f"vectors{number}"] = reference.vectors
    np.savez(sys.argv[1], **arrays)  # type: ignore[arg-type]


if __name__ == "__main__":
    _main()
