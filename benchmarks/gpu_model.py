"""A sentence-transformers model of MPNet-base's shape with random weights, texts, and their way through it: nothing is
fetched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from embedding_assets.encoder.model import LoadedModel
from embedding_assets.encoder.tokens import TokenizedText
from embedding_assets.planning import plan_batches

MAX_TOKENS: Final = 384


def manual(count: int) -> list[str]:
    """Passages of Python's manual of 200 to 800 characters; beyond its length, the same from other beginnings."""
    from pydoc_data.topics import topics

    words = " ".join(topics[name] for name in sorted(topics)).split()
    generator = np.random.default_rng(0)
    lengths, starts = generator.integers(40, 160, count), generator.integers(0, len(words) - 200, count)
    return [" ".join(words[start : start + length]) for start, length in zip(starts, lengths, strict=True)]


def save_model(folder: Path, texts: list[str], *, small: bool) -> None:
    """A sentence-transformers model of MPNet-base's shape, or of a small one's."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import MPNetConfig, MPNetModel, PreTrainedTokenizerFast

    special = ["<s>", "<pad>", "</s>", "[UNK]", "<mask>"]
    tokenizer = Tokenizer(models.WordPiece(unk_token=special[3]))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(texts[:2000], trainers.WordPieceTrainer(vocab_size=30_000, special_tokens=special))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    begin, pad, end, unknown, mask = special
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=begin, cls_token=begin, eos_token=end, sep_token=end, unk_token=unknown,
        pad_token=pad, mask_token=mask, model_max_length=MAX_TOKENS,
    )  # fmt: skip
    torch.manual_seed(0)
    shape: dict[str, int] = (
        {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128} if small else {}
    )
    config = MPNetConfig(vocab_size=30_527, **shape)
    MPNetModel(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    layers = [("", "transformer.Transformer"), ("1_Pooling", "pooling.Pooling"), ("2_Normalize", "normalize.Normalize")]
    (folder / "modules.json").write_text(
        json.dumps(
            [
                {
                    "idx": i,
                    "name": str(i),
                    "path": path,
                    "type": f"sentence_transformers.models.{kind.partition('.')[2]}",
                }
                for i, (path, kind) in enumerate(layers)
            ]
        )
    )
    (folder / "sentence_bert_config.json").write_text(
        json.dumps({"max_seq_length": MAX_TOKENS, "do_lower_case": False})
    )
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": config.hidden_size, "pooling_mode_mean_tokens": True})
    )
    (folder / "2_Normalize").mkdir()


def encode(model: LoadedModel, tokens: list[TokenizedText], budget: int, most_texts: int) -> NDArray[np.float32]:
    """Vectors of all, in batches of similar length, as many started ahead as the model likes."""
    plan = plan_batches(
        [len(text.ids) for text in tokens],
        max_tokens=budget,
        max_texts=most_texts,
        width_multiple=model.width_multiple,
    )
    vectors = np.empty((len(tokens), model.dimensions), dtype=np.float32)
    pending = []
    for batch in plan:
        pending.append((batch, model.start([tokens[index] for index in batch])))
        if len(pending) > model.lookahead:
            done, outcome = pending.pop(0)
            vectors[done] = outcome.numpy()
    for done, outcome in pending:
        vectors[done] = outcome.numpy()
    return vectors
