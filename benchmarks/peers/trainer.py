"""Hugging Face Trainer: as it comes, as its example script sets it, and tuned for this machine.

    default              random batches, padded to the longest text, fp32
    run_classification   the example script's: every text padded to 128 tokens, fp32
    tuned                texts of like length share a batch, bf16 or fp32, fused AdamW and GELU

Texts are tokenized beforehand in all three. Nothing is logged to a tracker, saved or evaluated.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import numpy as np
from scipy.special import expit, softmax

from benchmarks.gate import Gate
from benchmarks.measure import SCRATCH, SMOKE
from benchmarks.models import read_texts
from benchmarks.peers import torch_threads

PAD_TO = 128  # run_classification.py's max_seq_length


def train(gate: Gate, job: dict[str, Any]) -> None:
    """Train, a gate after every step."""
    from transformers import TrainerCallback

    trainer, lengths = make_trainer(job)

    class AtTheGate(TrainerCallback):
        def on_train_begin(self, *_: object, **__: object) -> None:
            gate.begin()

        def on_step_end(self, *_: object, **__: object) -> None:
            gate.step(*lengths.popleft())

    trainer.add_callback(AtTheGate())
    trainer.train()


def fit(gate: Gate, job: dict[str, Any]) -> None:
    """Train to the end; report seconds and, unless asked not to, accuracies."""
    started = time.perf_counter()
    trainer, lengths = make_trainer(job)
    loaded = time.perf_counter()
    trainer.train()
    trained = time.perf_counter()
    num_tokens = sum(sum(real) for real, _ in lengths)
    content = read_texts(job["texts"])
    accuracies: dict[str, Any] = {}
    for split in ("validation", "test"):
        if split in content and job.get("predict", True):
            dataset, _ = tokenized(job, content[split])
            # It groups by length here too, so predictions come in its order: so do label_ids.
            output = trainer.predict(dataset)
            equal = np.asarray(output.predictions).argmax(axis=-1) == output.label_ids
            accuracies[f"{split}_accuracy"] = float(equal.mean())
    gate.finish(
        load_seconds=loaded - started,
        seconds=trained - loaded,
        steps=trainer.state.global_step,
        tokens=num_tokens,
        **accuracies,
    )


def fit_probs(gate: Gate, job: dict[str, Any]) -> None:
    """Train to the end; report seconds and the probabilities of validation and test texts."""
    started = time.perf_counter()
    trainer, _ = make_trainer(job)
    loaded = time.perf_counter()
    trainer.train()
    trained = time.perf_counter()
    content = read_texts(job["texts"])
    parts = {split: content[split] for split in ("validation", "test")}
    gate.finish(
        load_seconds=loaded - started,
        seconds=trained - loaded,
        steps=trainer.state.global_step,
        probs={split: _probs(trainer, job, part) for split, part in parts.items()},
    )


def _probs(trainer: Any, job: dict[str, Any], part: dict[str, Any]) -> list[list[float]]:  # noqa: ANN401
    """Return probabilities (N, C) in the order of the texts."""
    dataset, _ = tokenized(job, part)
    # Grouping by length would return them in an order of its own: sort beforehand, then undo it.
    order = np.argsort([-length for length in dataset["length"]], kind="stable")
    trainer.args.train_sampling_strategy = "sequential"
    logits = np.empty((len(order), len(job["labels"])))
    logits[order] = trainer.predict(dataset.select(order)).predictions
    probs = expit(logits) if job["task"] == "multi-label" else softmax(logits, axis=-1)
    return [[float(f"{value:.6g}") for value in row] for row in probs]


def make_trainer(job: dict[str, Any]) -> tuple[Any, deque[tuple[list[int], int]]]:
    """Return a Trainer, and the (real lengths, tokens computed) of each batch it is given."""
    from transformers import (
        AutoConfig,
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        default_data_collator,
    )

    torch_threads.prepare(job)
    style = job["style"]
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    dataset, labels = tokenized(job, read_texts(job["texts"])["train"])
    changes: dict[str, Any] = {}
    config = AutoConfig.from_pretrained(job["model"])
    if style == "tuned" and config.model_type == "gpt2":
        # The same function as GPT-2's own activation, in one kernel.
        changes["activation_function"] = "gelu_pytorch_tanh"
    if job.get("task") == "multi-label":
        changes["problem_type"] = "multi_label_classification"
    changes["ignore_mismatched_sizes"] = SMOKE  # the tiny model has a head of two labels
    model = AutoModelForSequenceClassification.from_pretrained(
        job["model"], num_labels=len(labels), dtype="float32", **changes
    )
    model.config.pad_token_id = tokenizer.pad_token_id
    settings: dict[str, Any] = {
        "output_dir": str(SCRATCH / "trainer"),
        "use_cpu": True,
        "per_device_train_batch_size": job["batch_size"],
        "per_device_eval_batch_size": 64,
        "num_train_epochs": job.get("epochs", 1),
        "learning_rate": job.get("learning_rate", 2e-5),
        "seed": job.get("seed", 42),
        "report_to": "none",
        "save_strategy": "no",
        "eval_strategy": "no",
        "disable_tqdm": True,
    }
    if style == "tuned":
        settings |= {
            "bf16": job["precision"] == "bf16",
            "train_sampling_strategy": "group_by_length",
            "optim": "adamw_torch_fused",
            "dataloader_pin_memory": False,
            "logging_strategy": "no",
        }
    if job.get("sample_every"):
        dataset = dataset.select(sampled_round(job, dataset["length"]))
        settings["train_sampling_strategy"] = "sequential"
    lengths: deque[tuple[list[int], int]] = deque()
    inner = (
        default_data_collator
        if style == "run_classification"
        else DataCollatorWithPadding(tokenizer)
    )

    def collate(examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch = inner(examples)
        mask = batch["attention_mask"]
        if "labels" in batch:
            lengths.append((mask.sum(dim=1).tolist(), mask.numel()))
        return batch

    trainer = Trainer(
        model=model,
        args=TrainingArguments(**settings),
        train_dataset=dataset,
        data_collator=collate,
        processing_class=tokenizer,
    )
    return trainer, lengths


def sampled_round(job: dict[str, Any], lengths: list[int]) -> list[int]:
    """Return examples in the order of group by length, every so many batches of it.

    Its sampler sorts 50 batches at a time, from long to short. A short measurement would see long
    or short texts only; one batch in ten, evenly spaced, holds the same mix of lengths.
    """
    import torch
    from transformers.trainer_pt_utils import get_length_grouped_indices

    size, every = job["batch_size"], job["sample_every"]
    generator = torch.Generator().manual_seed(job.get("seed", 42))
    order = get_length_grouped_indices(lengths, size, generator=generator)
    batches = [order[start : start + size] for start in range(0, len(order) - size + 1, size)]
    return [index for batch in batches[every // 2 :: every] for index in batch]


def tokenized(job: dict[str, Any], part: dict[str, Any]) -> tuple[Any, list[str]]:
    """Return a split as a `datasets` data set, and the labels in the order of their ids."""
    from datasets import Dataset
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    labels = job.get("labels") or sorted(set(part["labels"]))
    if job["style"] == "run_classification":
        options = {"padding": "max_length", "max_length": PAD_TO, "truncation": True}
    else:
        options = {"truncation": True, "max_length": job.get("max_length") or 1024}
    inputs = dict(tokenizer(part["texts"], **options))
    inputs["labels"] = encoded(part["labels"], labels, job)
    if job["style"] == "tuned":
        inputs["length"] = [len(ids) for ids in inputs["input_ids"]]
    copies = job.get("copies", 1)
    return Dataset.from_dict({key: values * copies for key, values in inputs.items()}), labels


def encoded(written: list[str], labels: list[str], job: dict[str, Any]) -> list[Any]:
    """Return label ids, or for a multi-label job 0.0 or 1.0 for each label."""
    if job.get("task") != "multi-label":
        return [labels.index(label) for label in written]
    sets = [set(label.split(job["separator"])) for label in written]
    return [[float(label in each) for label in labels] for each in sets]
