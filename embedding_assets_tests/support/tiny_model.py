"""Real sentence-transformers models with random weights, small enough to be made for a test."""

import hashlib
import json
import os
import shutil
import string
import uuid
from pathlib import Path

from filelock import FileLock

DIMENSIONS = 32
POSITIONS = 64
PROMPTS = {"query": "find: ", "document": "text: "}


def save_tiny_model(
    folder: Path, *, normalize: bool = True, prompts: dict[str, str] | None = None, similarity: str | None = None
) -> Path:
    """A one-layer BERT that spells words letter by letter and reads ``POSITIONS`` tokens; the same ones each time."""
    options = {"normalize": normalize, "prompts": prompts or {}, "similarity": similarity}
    name = hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:16]
    saved = Path(os.environ["HF_ASSETS_CACHE"]) / "tiny_models" / name / "model"
    saved.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(saved.parent / "lock"):  # importing its library takes a process seconds
        if not saved.exists():
            partial = saved.with_name(uuid.uuid4().hex)
            _save(partial, **options)
            partial.with_name(f"{partial.name}-transformer").rename(saved.with_name("model-transformer"))
            partial.rename(saved)
    shutil.copytree(saved, folder)
    shutil.copytree(saved.with_name("model-transformer"), folder.with_name(f"{folder.name}-transformer"))
    return folder


def _save(folder: Path, *, normalize: bool, prompts: dict[str, str], similarity: str | None) -> None:
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast
    from transformers.utils import logging

    logging.disable_progress_bar()
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    letters = string.ascii_lowercase + string.punctuation + string.digits
    vocabulary = [*special.values(), *letters, *(f"##{letter}" for letter in letters)]
    tokenizer = Tokenizer(models.WordPiece({token: id_ for id_, token in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    base = folder.with_name(f"{folder.name}-transformer")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=POSITIONS, **special).save_pretrained(base)
    torch.manual_seed(7)
    sizes = {"hidden_size": DIMENSIONS, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertModel(BertConfig(vocab_size=len(vocabulary), max_position_embeddings=POSITIONS, **sizes)).save_pretrained(base)
    modules = [Transformer(str(base)), Pooling(DIMENSIONS, "mean"), *([Normalize()] if normalize else [])]
    model = SentenceTransformer(modules=modules, prompts=prompts, similarity_fn_name=similarity, device="cpu")
    model.save(str(folder), create_model_card=False)


def save_tiny_cross_encoder(folder: Path, *, labels: int = 1) -> Path:
    """A cross-encoder over the same letters, whose weights are random too."""
    import torch
    from sentence_transformers import CrossEncoder
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    save_tiny_model(folder.with_name(f"{folder.name}-letters"))
    base = folder.with_name(f"{folder.name}-base")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder.with_name(f"{folder.name}-letters-transformer"))
    tokenizer.save_pretrained(base)
    torch.manual_seed(7)
    sizes = {"hidden_size": DIMENSIONS, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = BertConfig(
        vocab_size=len(tokenizer), max_position_embeddings=POSITIONS, num_labels=labels, initializer_range=1.0, **sizes
    )
    BertForSequenceClassification(config).save_pretrained(base)
    CrossEncoder(str(base), device="cpu", local_files_only=True).save_pretrained(str(folder), create_model_card=False)
    return folder
