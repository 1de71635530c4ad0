"""Classifiers of one easy task, trained by stock loops that pad as other programs do.

A text is lower-case noise with one capital letter in it, which is its label. Positions are drawn
wide: a text that lies where training never put one is read through noise.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from transformers import GPT2Config, GPT2ForSequenceClassification, GPT2LMHeadModel

from families import CONFIGS, byte_tokenizer

FIXED_LENGTH = 48
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def capital_texts(count: int, seed: int) -> tuple[list[str], list[str]]:
    """Texts of 3 to 24 letters and their labels, "A" or "B"."""
    rng = np.random.default_rng(seed)
    texts, labels = [], []
    for _ in range(count):
        letters = list(rng.choice(list(_LETTERS), size=rng.integers(3, 25)))
        label = str(rng.choice(["A", "B"]))
        letters[rng.integers(len(letters))] = label
        texts.append("".join(letters))
        labels.append(label)
    return texts, labels


def _config(**changes: object) -> GPT2Config:
    config = CONFIGS["gpt2"]()
    config.update(
        {"n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 128, "resid_pdrop": 0.0,
         "attn_pdrop": 0.0, "embd_pdrop": 0.0, **changes}
    )  # fmt: skip
    return config


def _draw_positions_wide(model: GPT2ForSequenceClassification | GPT2LMHeadModel) -> None:
    with torch.no_grad():
        model.transformer.wpe.weight.normal_(std=0.6)


def save_language_model(folder: Path) -> Path:
    """Save the decoder that `train_stock` starts from, without a head."""
    torch.manual_seed(0)
    model = GPT2LMHeadModel(_config())
    _draw_positions_wide(model)
    model.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


def train_stock(
    folder: Path,
    *,
    side: str,
    length: int | None = None,
    pad_token_id: int = 256,
    num_steps: int = 300,
    seed: int = 0,
) -> Path:
    """Train GPT-2 as a loop over `tokenizer(..., padding=...)` does: a mask, no positions.

    Args:
        folder: where the checkpoint is saved, by transformers alone.
        side: on which the tokenizer pads.
        length: to which every text is padded; None is the longest of its batch.
        pad_token_id: what the configuration says; the tokenizer pads with end-of-text.
        num_steps: of AdamW, on batches of 16.
        seed: of everything.
    """
    torch.manual_seed(seed)
    model = GPT2ForSequenceClassification(_config(pad_token_id=pad_token_id, num_labels=2)).train()
    _draw_positions_wide(model)
    tokenizer = byte_tokenizer()
    tokenizer.pad_token, tokenizer.padding_side = tokenizer.eos_token, side
    texts, labels = capital_texts(num_steps * 16, seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for start in range(0, len(texts), 16):
        rows = tokenizer(
            texts[start : start + 16],
            padding="max_length" if length else True,
            max_length=length,
            truncation=length is not None,
            return_tensors="pt",
        )
        targets = torch.tensor(["AB".index(label) for label in labels[start : start + 16]])
        model(
            input_ids=rows["input_ids"], attention_mask=rows["attention_mask"], labels=targets
        ).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
