"""A tiny DPRM and its tokenizer, made on the spot."""

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import LlamaConfig, PreTrainedTokenizerFast

from trl_dprm import DPRMConfig, DPRMForSequenceClassification

WORDS = ["What", "is", "the", "capital", "of", "France", "?", "Paris", ".", "London"]
TOKENIZATION = {"add_special_tokens": True, "append_eos": True, "max_length": 32}
CHAT_TEMPLATE = "{% for message in messages %}{{ message['content'] + '</s>' }}{% endfor %}"


def make_tokenizer(eos_token="</s>"):
    special = ["<pad>", "<unk>", "<s>", "</s>"]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(special + WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token=eos_token,
        chat_template=CHAT_TEMPLATE,
        model_input_names=["input_ids", "attention_mask"],
    )


def make_model(**config):
    backbone = LlamaConfig(
        vocab_size=16,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        pad_token_id=0,
        eos_token_id=3,
    )
    torch.manual_seed(0)
    config = {"tokenization": TOKENIZATION, "anchored": True, **config}
    return DPRMForSequenceClassification(DPRMConfig(backbone, **config)).eval()
