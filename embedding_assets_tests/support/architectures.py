"""Models of many architectures with random weights, as sentence-transformers saves them."""

from pathlib import Path
from typing import Any, Final

from embedding_assets_tests.support.tiny_model import DIMENSIONS, save_tiny_model

_USUAL: Final = {
    "hidden_size": DIMENSIONS,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 130,
}
_DECODER: Final = {**_USUAL, "num_key_value_heads": 2, "head_dim": 8}

ARCHITECTURES: Final[dict[str, dict[str, Any]]] = {
    "bert": _USUAL,
    "mpnet": _USUAL,
    "roberta": _USUAL,
    "xlm-roberta": _USUAL,
    "camembert": _USUAL,
    "distilbert": {"dim": DIMENSIONS, "hidden_dim": 64, "n_layers": 2, "n_heads": 4, "max_position_embeddings": 130},
    "albert": {**_USUAL, "embedding_size": 16},
    "electra": {**_USUAL, "embedding_size": 16},
    "modernbert": {**_USUAL, "global_attn_every_n_layers": 2, "local_attention": 16},
    "deberta-v2": {**_USUAL, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "nomic_bert": _USUAL,
    "qwen3": _DECODER,
    "llama": _DECODER,
    "gemma3_text": {**_DECODER, "use_bidirectional_attention": True, "sliding_window": 16},
    "t5": {"d_model": DIMENSIONS, "d_ff": 64, "d_kv": 8, "num_layers": 2, "num_heads": 4},
}


def save_model(folder: Path, architecture: str, pooling: str = "mean", **changes: Any) -> Path:
    """A model of two layers that reads at most 128 tokens, spelled letter by letter."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from transformers import AutoConfig, AutoModel, AutoTokenizer, T5EncoderModel

    letters = save_tiny_model(folder.with_name(f"{folder.name}-letters"))
    tokenizer = AutoTokenizer.from_pretrained(letters)
    tokenizer.model_max_length = 128
    if architecture in ("qwen3", "llama"):
        tokenizer.padding_side = "left"
    special = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    config = AutoConfig.for_model(
        architecture, **{**ARCHITECTURES[architecture], "vocab_size": len(tokenizer), **special, **changes}
    )
    torch.manual_seed(3)
    model = T5EncoderModel(config) if architecture == "t5" else AutoModel.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Large enough for every part to show in what comes out.
            if "norm" not in name.lower():
                parameter.copy_(torch.randn_like(parameter) * 0.2)
    base = folder.with_name(f"{folder.name}-transformer")
    model.save_pretrained(base)
    tokenizer.save_pretrained(base)
    modules = [Transformer(str(base)), Pooling(DIMENSIONS, pooling), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder), create_model_card=False)
    return folder
