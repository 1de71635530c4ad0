"""A sentence encoder (all-MiniLM-L6-v2) with logistic regression on its vectors.

As its own library would: means over tokens, unit length, texts sorted by length, batches of 128;
the penalty chosen by cross-validation on training texts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.gate import Gate
from benchmarks.models import read_texts
from benchmarks.peers import torch_threads

_BATCH_SIZE = 128
_MAX_LENGTH = 256  # the encoder's own


def fit(gate: Gate, job: dict[str, Any]) -> None:
    """Encode, fit, score; seconds of training are those of encoding training texts and fitting."""
    from sklearn.linear_model import LogisticRegressionCV

    content = read_texts(job["texts"])
    started = time.perf_counter()
    encode = load_encoder(job)
    loaded = time.perf_counter()
    head = LogisticRegressionCV(Cs=10, cv=5, max_iter=1000, n_jobs=1)
    head.fit(encode(content["train"]["texts"]), content["train"]["labels"])
    trained = time.perf_counter()
    accuracy = head.score(encode(content["test"]["texts"]), content["test"]["labels"])
    gate.finish(
        load_seconds=loaded - started,
        seconds=trained - loaded,
        predict_seconds=time.perf_counter() - trained,
        test_accuracy=float(accuracy),
    )


def fit_logistic(gate: Gate, job: dict[str, Any]) -> None:
    """Encode and fit; report seconds and the probabilities of validation and test texts."""
    from benchmarks.peers import logistic
    from benchmarks.quality.scores import flags_of

    content = read_texts(job["texts"])
    started = time.perf_counter()
    encode = load_encoder(job)
    loaded = time.perf_counter()
    truth = flags_of(content["train"]["labels"], job["labels"])
    features = encode(content["train"]["texts"])
    probs, strength = logistic.fit_logistic(features, truth, task=job["task"], seed=job["seed"])
    trained = time.perf_counter()
    gate.finish(
        load_seconds=loaded - started,
        seconds=trained - loaded,
        chosen=strength,
        probs={
            split: probs(encode(content[split]["texts"])).round(6).tolist()
            for split in ("validation", "test")
        },
    )


def load_encoder(job: dict[str, Any]) -> Callable[[Sequence[str]], Any]:
    """Return a function from N texts to vectors (N, H) float32 of unit length."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    torch_threads.prepare(job)
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    dtype = torch.bfloat16 if job["precision"] == "bf16" else torch.float32
    model = AutoModel.from_pretrained(job["model"], dtype=dtype).eval()

    @torch.inference_mode()
    def encode(texts: Sequence[str]) -> Any:  # noqa: ANN401
        vectors = np.zeros((len(texts), model.config.hidden_size), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        for start in range(0, len(order), _BATCH_SIZE):
            places = order[start : start + _BATCH_SIZE]
            inputs = tokenizer(
                [texts[i] for i in places],
                padding=True,
                truncation=True,
                max_length=_MAX_LENGTH,
                return_tensors="pt",
            )
            mask = inputs["attention_mask"].unsqueeze(-1)
            states = model(**inputs).last_hidden_state.float()
            means = (states * mask).sum(dim=1) / mask.sum(dim=1)
            vectors[places] = torch.nn.functional.normalize(means).numpy()
        return vectors

    return encode
