"""Tiny random models of every backbone that the tests run over."""

import torch
import transformers

VOCAB_SIZE = 260  # four special tokens and the 256 bytes
_SIZES = {"num_attention_heads": 4, "hidden_size": 32, "max_position_embeddings": 128}
_IDS = {"vocab_size": VOCAB_SIZE, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_DECODER = {**_IDS, **_SIZES, "num_hidden_layers": 2, "intermediate_size": 64, "num_key_value_heads": 2}
_ENCODER = {**_IDS, **_SIZES, "num_hidden_layers": 2, "intermediate_size": 64}

# Model type -> arguments of its configuration.
TINY_BACKBONES = {
    "llama": _DECODER,
    "qwen3": {**_DECODER, "head_dim": 8},
    "mixtral": {**_DECODER, "num_local_experts": 4},
    "gpt2": {**_IDS, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128},
    "gpt_neo": {
        **_IDS,
        "hidden_size": 32,
        "num_layers": 2,
        "num_heads": 4,
        "attention_types": [[["global", "local"], 1]],
        "max_position_embeddings": 128,
    },
    "gpt_neox": _ENCODER,
    "bert": _ENCODER,
    "modernbert": {**_ENCODER, "cls_token_id": 1, "sep_token_id": 2},
}
ENCODERS = ("bert", "modernbert")


def tiny_config(backbone, **changes):
    """Configuration of a tiny backbone of this model type, without dropout."""
    no_dropout = {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0} if backbone == "gpt2" else {}
    if backbone == "bert":
        no_dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return transformers.AutoConfig.for_model(backbone, **{**TINY_BACKBONES[backbone], **no_dropout, **changes})


def tiny_stock_model(backbone, kind="lm", seed=0, **changes):
    """A stock model with random weights: `kind` is "lm", "headless" or "classifier"."""
    language_model = transformers.AutoModelForMaskedLM if backbone in ENCODERS else transformers.AutoModelForCausalLM
    auto_class = {
        "lm": language_model,
        "headless": transformers.AutoModel,
        "classifier": transformers.AutoModelForSequenceClassification,
    }[kind]
    torch.manual_seed(seed)
    return auto_class.from_config(tiny_config(backbone, **changes)).eval()
