"""transformers' `pipeline("text-classification")`: as it comes, and tuned; and a plain tuned loop.

default   fp32, batches of 32 in the order given
tuned     sorted by length, batches of 64, bf16 weights, inference mode, fused GELU
loop      no pipeline: sorted, batches under a token budget, bf16 weights, inference mode
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

from benchmarks.gate import Gate
from benchmarks.models import read_texts
from benchmarks.peers import torch_threads

_TOKENS_PER_BATCH = 2048

Scorer = Callable[[Sequence[str]], list[list[float]]]


def predict(gate: Gate, job: dict[str, Any]) -> None:
    """Score a fixed list of texts, a gate after every pass."""
    part = read_texts(job["texts"])["test"]
    texts = part["texts"][: job["num_texts"]]
    counts = part["num_tokens"][: job["num_texts"]]
    score = loop_scorer(job) if job["style"] == "loop" else pipeline_scorer(job)
    gate.begin(sample=score(texts[:8]))
    while True:
        score(texts)
        gate.step(counts)


def predict_single(gate: Gate, job: dict[str, Any]) -> None:
    """Score one text at a time, a gate after every text."""
    part = read_texts(job["texts"])["test"]
    score = pipeline_scorer({**job, "batch_size": 1})
    gate.begin(sample=score(part["texts"][:1]))
    while True:
        for text, count in zip(part["texts"], part["num_tokens"], strict=True):
            score([text])
            gate.step([count])


def pipeline_scorer(job: dict[str, Any]) -> Scorer:
    """Return a function from texts to probabilities by label order."""
    import torch
    from transformers import pipeline

    torch_threads.prepare(job)
    tuned = job["style"] == "tuned"
    options: dict[str, Any] = {"device": "cpu"}
    if tuned:
        options["dtype"] = torch.bfloat16 if job["precision"] == "bf16" else torch.float32
        options["model_kwargs"] = {
            "attn_implementation": "sdpa",
            "activation_function": "gelu_pytorch_tanh",
        }
    classify = pipeline("text-classification", job["model"], **options)
    labels = [classify.model.config.id2label[i] for i in range(classify.model.config.num_labels)]

    def score(texts: Sequence[str]) -> list[list[float]]:
        order = list(range(len(texts)))
        if tuned:
            order.sort(key=lambda i: -len(texts[i]))  # characters: tokens cost a pass of their own
        with torch.inference_mode() if tuned else nullcontext():
            answers = classify(
                [texts[i] for i in order],
                batch_size=job["batch_size"],
                truncation=True,
                top_k=None,
            )
        results: list[list[float]] = [[] for _ in texts]
        for place, answer in zip(order, answers, strict=True):
            scores = {entry["label"]: entry["score"] for entry in answer}
            results[place] = [scores[label] for label in labels]
        return results

    return score


def loop_scorer(job: dict[str, Any]) -> Scorer:
    """Return the same by a loop of our own around the stock model."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch_threads.prepare(job)
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    model = AutoModelForSequenceClassification.from_pretrained(
        job["model"],
        dtype=torch.bfloat16 if job["precision"] == "bf16" else torch.float32,
        activation_function="gelu_pytorch_tanh",
    ).eval()

    @torch.inference_mode()
    def score(texts: Sequence[str]) -> list[list[float]]:
        ids = tokenizer(list(texts), truncation=True)["input_ids"]
        probs = torch.zeros(len(texts), model.config.num_labels)
        for batch in budget_batches([len(row) for row in ids], _TOKENS_PER_BATCH):
            inputs = tokenizer.pad({"input_ids": [ids[i] for i in batch]}, return_tensors="pt")
            probs[batch] = model(**inputs).logits.float().softmax(dim=-1)
        return probs.tolist()

    return score


def budget_batches(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Share out texts, longest first, into batches of at most so many tokens, padding included."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    batches: list[list[int]] = []
    longest = 0
    for i in order:
        if not batches or (len(batches[-1]) + 1) * longest > tokens:
            batches.append([])
            longest = lengths[i]
        batches[-1].append(i)
    return batches
