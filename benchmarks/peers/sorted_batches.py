"""The loop around exported models: tokenize, sort, pad on the right, score, restore order.

Imported in environments without lasttoken, and with other versions of transformers: the tokenizer
is read from tokenizer.json by the library that made it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gate import Gate

Logits = Callable[[dict[str, Any]], Any]


class Scorer:
    """From texts to probabilities.

    Args:
        model: folder with tokenizer.json and config.json.
        logits: from {"input_ids", "attention_mask"}, each (B, L) int64, to (B, C).
        batch_size: texts that share a batch.
    """

    def __init__(self, model: str, logits: Logits, batch_size: int) -> None:
        from tokenizers import Tokenizer

        folder = Path(model)
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self._pad = config["pad_token_id"]
        self._logits = logits
        self._batch_size = batch_size

    def __call__(self, texts: Sequence[str]) -> list[list[float]]:
        """Return probabilities, a row for each text."""
        rows = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]
        order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
        results: list[list[float]] = [[] for _ in rows]
        for start in range(0, len(order), self._batch_size):
            places = order[start : start + self._batch_size]
            longest = len(rows[places[0]])
            ids = np.full((len(places), longest), self._pad, dtype=np.int64)
            mask = np.zeros((len(places), longest), dtype=np.int64)
            for row, place in enumerate(places):
                ids[row, : len(rows[place])] = rows[place]
                mask[row, : len(rows[place])] = 1
            logits = np.asarray(self._logits({"input_ids": ids, "attention_mask": mask}), "float64")
            odds = np.exp(logits - logits.max(axis=1, keepdims=True))
            for place, row in zip(places, odds / odds.sum(axis=1, keepdims=True), strict=True):
                results[place] = row.tolist()
        return results


def run_sorted(gate: Gate, job: dict[str, Any], logits: Logits) -> None:
    """Score a fixed list of texts, a gate after every pass."""
    part = json.loads(Path(job["texts"]).read_text(encoding="utf-8"))["test"]
    texts = part["texts"][: job["num_texts"]]
    counts = part["num_tokens"][: job["num_texts"]]
    score = Scorer(job["model"], logits, job["batch_size"])
    gate.begin(sample=score(texts[:8]))
    while True:
        score(texts)
        gate.step(counts)


def run_single(gate: Gate, job: dict[str, Any], logits: Logits) -> None:
    """Score one text at a time, a gate after every text."""
    part = json.loads(Path(job["texts"]).read_text(encoding="utf-8"))["test"]
    score = Scorer(job["model"], logits, 1)
    gate.begin(sample=score(part["texts"][:1]))
    while True:
        for text, count in zip(part["texts"], part["num_tokens"], strict=True):
            score([text])
            gate.step([count])
