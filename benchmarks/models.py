"""Models and texts that the comparisons share, made once and cached under `runs/bench/`.

GPT-2's architecture and size with random weights and SmolLM2's tokenizer: speed does not depend on
what the weights are, and the published ones cannot be had from the package index.

    python -m benchmarks.models      makes them all
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import SCRATCH, SMOKE

SEED = 123
LABELS = ("negative", "positive")
MIXES = ("short", "medium", "long")

_LONG = 512
_MEDIUM_MEAN = 120
_SHAPES = {
    "gpt2": {},  # transformers' own defaults: 12 blocks, 768 wide, 50,257 tokens, 1,024 positions
    "gpt2-small": {"n_layer": 2, "n_embd": 128, "n_head": 4},  # whole fits in seconds
}


def gpt2_folder(dropout: float, shape: str | None = None) -> Path:
    """Return a GPT-2 classifier folder with seeded random weights and this dropout."""
    shape = shape or ("gpt2-small" if SMOKE else "gpt2")
    folder = SCRATCH / "models" / f"{shape}-dropout-{dropout:g}"
    if (folder / "model.safetensors").is_file():
        return folder
    import torch
    from transformers import AutoTokenizer, GPT2Config, GPT2ForSequenceClassification

    tokenizer = AutoTokenizer.from_pretrained(smollm2_folder())
    config = GPT2Config(
        **_SHAPES[shape],
        resid_pdrop=dropout,
        embd_pdrop=dropout,
        attn_pdrop=dropout,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        id2label=dict(enumerate(LABELS)),
        label2id={label: place for place, label in enumerate(LABELS)},
    )
    torch.manual_seed(SEED)
    model = GPT2ForSequenceClassification(config)
    tokenizer.model_max_length = config.n_positions
    tokenizer.padding_side = "right"
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


def smollm2_folder() -> Path:
    """Return the folder of the pretrained sample model."""
    from lasttoken.model.gguf import fetch_sample_model

    return fetch_sample_model("smollm2")


def texts_file(mix: str) -> Path:
    """Return a JSON file with "train" and "test", each {"texts", "labels", "num_tokens"}.

    Args:
        mix: "short" (movie reviews as they are), "medium" (joined to 120 tokens on average, with
            a long tail) or "long" (joined to 512 tokens or a little more, to be cut at 512).
    """
    path = SCRATCH / "texts" / f"{mix}.json"
    if path.is_file():
        return path
    from transformers import AutoTokenizer

    from lasttoken.data.movie_reviews import read_movie_reviews

    tokenizer = AutoTokenizer.from_pretrained(smollm2_folder())
    content = {}
    for split, examples in read_movie_reviews().items():
        texts = [example.text for example in examples]
        labels = [str(example.label) for example in examples]
        counts = [len(ids) for ids in tokenizer(texts)["input_ids"]]
        if mix != "short":
            texts, labels = _joined(texts, labels, counts, mix)
            counts = [len(ids) for ids in tokenizer(texts)["input_ids"]]
        content[split] = {"texts": texts, "labels": labels, "num_tokens": counts}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def read_texts(path: str | Path) -> dict[str, Any]:
    """Return what `texts_file` wrote."""
    content: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    return content


def subset_file(
    name: str, texts: Sequence[str], labels: Sequence[str], num_tokens: Sequence[int]
) -> Path:
    """Write a list of texts as both splits of a texts file."""
    path = SCRATCH / "texts" / f"{name}.json"
    part = {"texts": list(texts), "labels": list(labels), "num_tokens": list(num_tokens)}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"train": part, "test": part}), encoding="utf-8")
    return path


def _joined(
    texts: Sequence[str], labels: Sequence[str], counts: Sequence[int], mix: str
) -> tuple[list[str], list[str]]:
    """Join reviews of one label, in random order, until each text has its number of tokens."""
    generator = np.random.default_rng(SEED)
    joined, joined_labels = [], []
    order = generator.permutation(len(texts)).tolist()
    by_label = {label: [i for i in order if labels[i] == label] for label in LABELS}
    while True:
        label = LABELS[len(joined) % 2]
        if mix == "long":
            wanted = float(_LONG)
        else:  # lognormal: median 87, one in twenty above 320
            wanted = float(np.exp(generator.normal(np.log(_MEDIUM_MEAN) - 0.32, 0.8)))
            wanted = min(max(wanted, 8.0), 1000.0)
        chosen, size = [], 0
        # A review is joined if it brings the text nearer to its length.
        while by_label[label] and (
            size < wanted if mix == "long" else size + counts[by_label[label][-1]] / 2 < wanted
        ):
            chosen.append(by_label[label].pop())
            size += counts[chosen[-1]]
        if not by_label[label]:
            return joined, joined_labels
        if chosen:
            joined.append(" ".join(texts[i] for i in chosen))
            joined_labels.append(label)


def main() -> None:
    """Make everything and tell the lengths."""
    for shape in _SHAPES:
        for dropout in (0.1, 0.0):
            print(gpt2_folder(dropout, shape).name)
    for mix in MIXES:
        for split, part in read_texts(texts_file(mix)).items():
            counts = np.array(part["num_tokens"])
            print(f"{mix} {split}: {len(counts):,} texts, {counts.mean():.1f} tokens on average")


if __name__ == "__main__":
    main()
