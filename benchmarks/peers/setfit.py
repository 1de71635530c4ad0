"""SetFit: contrastive fine-tuning of a sentence encoder on pairs, then logistic regression.

In an environment of its own, with its own defaults (16 pairs a batch, one epoch, body rate 2e-5,
fp32); the job tells how many pairs an example is in.
"""

from __future__ import annotations

import time
from importlib.metadata import version
from typing import Any

from benchmarks.gate import Gate
from benchmarks.measure import SCRATCH
from benchmarks.models import read_texts
from benchmarks.peers import torch_threads

_PACKAGES = ("setfit", "sentence-transformers", "transformers", "torch", "scikit-learn")


def fit(gate: Gate, job: dict[str, Any]) -> None:
    """Train to the end; report seconds and the probabilities of validation and test texts."""
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments

    torch_threads.prepare(job)
    content = read_texts(job["texts"])
    started = time.perf_counter()
    labels = job["labels"]
    model = SetFitModel.from_pretrained(job["model"], device="cpu")
    loaded = time.perf_counter()
    part = content["train"]
    numbers = [labels.index(label) for label in part["labels"]]
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(SCRATCH / "setfit"),
            batch_size=job["batch_size"],
            num_epochs=job["num_epochs"],
            num_iterations=job["num_iterations"],
            seed=job["seed"],
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            show_progress_bar=False,
        ),
        train_dataset=Dataset.from_dict({"text": part["texts"], "label": numbers}),
    )
    trainer.train()
    trained = time.perf_counter()
    gate.finish(
        load_seconds=loaded - started,
        seconds=trained - loaded,
        probs={split: _probs(model, content[split], labels) for split in ("validation", "test")},
        versions={name: version(name) for name in _PACKAGES},
    )


def _probs(model: Any, part: dict[str, Any], labels: list[str]) -> list[list[float]]:  # noqa: ANN401
    """Return probabilities (N, C) in the order of labels."""
    found = model.predict_proba(part["texts"], as_numpy=True, show_progress_bar=False)
    places = {int(number): place for place, number in enumerate(model.model_head.classes_)}
    return [
        [round(float(row[places[number]]), 6) if number in places else 0.0
         for number in range(len(labels))]
        for row in found
    ]  # fmt: skip
