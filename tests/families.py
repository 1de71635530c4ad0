"""Tiny random decoders of every family, and a byte-level tokenizer, built in code.

Sizes are the least that exercise a family's own features: two blocks, two to four heads, a
sliding window and a soft cap small enough to matter for the test texts. Weights are drawn wide,
so that logits differ by more than 1 between texts and a mistake cannot hide in the tolerance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
)

from lasttoken.model.folder import LoadedModel
from lasttoken.model.settling import settle_reading

END_OF_TEXT = "<|endoftext|>"
VOCABULARY = 260  # 256 bytes, end-of-text, beginning-of-text, and two rows nobody uses
MAX_POSITIONS = 512

_ROTARY = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": MAX_POSITIONS,
    "initializer_range": 0.2,
    "bos_token_id": 256,
    "eos_token_id": 256,
    "pad_token_id": None,
}


def _gpt2(**changes: object) -> GPT2Config:
    settings = {
        "vocab_size": VOCABULARY,
        "n_embd": 64,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": MAX_POSITIONS,
        "initializer_range": 0.2,
        "bos_token_id": 256,
        "eos_token_id": 256,
    }
    return GPT2Config(**{**settings, **changes})


CONFIGS: dict[str, Callable[[], PreTrainedConfig]] = {
    "gpt2": _gpt2,
    "gpt2-inverse-layer": lambda: _gpt2(scale_attn_by_inverse_layer_idx=True),
    "gpt_neox": lambda: GPTNeoXConfig(
        **{key: _ROTARY[key] for key in _ROTARY if "key_value" not in key and key != "head_dim"}
    ),
    "opt": lambda: OPTConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        word_embed_proj_dim=64,
        ffn_dim=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=MAX_POSITIONS,
        init_std=0.2,
        bos_token_id=256,
        eos_token_id=256,
        pad_token_id=1,
    ),
    "llama": lambda: LlamaConfig(**_ROTARY),
    "qwen3": lambda: Qwen3Config(**_ROTARY),
    "mistral": lambda: MistralConfig(**{**_ROTARY, "sliding_window": 7}),
    "gemma2": lambda: Gemma2Config(
        **{
            **_ROTARY,
            "sliding_window": 7,
            "attn_logit_softcapping": 2.0,
            "query_pre_attn_scalar": 16,
            "hidden_activation": "gelu_pytorch_tanh",
        }
    ),
}
FAMILIES = tuple(CONFIGS)


def byte_tokenizer(*, adds_bos: bool = False) -> PreTrainedTokenizerFast:
    """One token per byte, end-of-text as token 256, no pad token; optionally BOS in front."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: index for index, symbol in enumerate(alphabet)}
    vocabulary |= {END_OF_TEXT: 256, "<s>": 257}
    backend = Tokenizer(models.BPE(vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    if adds_bos:
        backend.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", 257)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token=END_OF_TEXT, bos_token="<s>" if adds_bos else None
    )


def read_as(loaded: LoadedModel, **settings: object) -> LoadedModel:
    """The same model, reading texts by other settings (see `settle_reading`)."""
    tokenizer, reading = settle_reading(
        loaded.tokenizer, loaded.classifier.hf_model.config, loaded.token_limit, **settings
    )
    return replace(loaded, tokenizer=tokenizer, record=replace(loaded.record, reading=reading))


def save_decoder(folder: Path, family: str = "gpt2", *, seed: int = 0, adds_bos: bool = False,
                 **changes: object) -> Path:  # fmt: skip
    """Save a tiny random language model and its tokenizer as a plain model folder."""
    config = CONFIGS[family]()
    for name, value in changes.items():
        setattr(config, name, value)
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():  # biases and norms start at constants; give every weight a say
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    byte_tokenizer(adds_bos=adds_bos).save_pretrained(folder)
    return folder
