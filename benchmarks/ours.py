"""lasttoken as a contender, through the entry points that every user has."""

from __future__ import annotations

import importlib
import inspect
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gate import Gate
from benchmarks.measure import SCRATCH
from benchmarks.models import read_texts
from lasttoken import TextClassifier
from lasttoken.data.examples import Example
from lasttoken.events import Event, Progress
from lasttoken.training.sampler import EpochSampler
from lasttoken.training.saver import CheckpointSettings


class MissingFeatureError(RuntimeError):
    """This version of lasttoken has no such argument; the comparison is skipped."""


def make_classifier(job: dict[str, Any]) -> TextClassifier:
    """Return an unfitted classifier with the job's settings.

    Raises:
        MissingFeatureError: an option is unknown to this version.
    """
    options = dict(job.get("options", {}))
    if job.get("task", "single-label") != "single-label":
        options["task"] = job["task"]
    unknown = sorted(set(options) - set(inspect.signature(TextClassifier.__init__).parameters))
    if unknown:
        raise MissingFeatureError(f"TextClassifier has no argument {', '.join(unknown)}")
    return TextClassifier(
        job["model"],
        batch_size=job.get("batch_size", 32),
        precision=job["precision"],
        max_length=job.get("max_length"),
        **{"num_epochs": 1, "learning_rate": 2e-5, **options},
    )


def examples_of(part: dict[str, Any]) -> list[Example]:
    """Return a split of a texts file as examples."""
    pairs = zip(part["texts"], part["labels"], strict=True)
    return [Example(text, label, row=row) for row, (text, label) in enumerate(pairs, start=1)]


def train(gate: Gate, job: dict[str, Any]) -> None:
    """Train, a gate after every optimizer step."""
    _switch_off(job)
    content = read_texts(job["texts"])
    training = examples_of(content["train"]) * job.get("copies", 1)
    classifier = make_classifier(job)
    prepared = classifier.prepare(training, _two_labels(training))
    batches = _lengths_by_batch(prepared, classifier)

    def on_event(event: Event) -> None:
        if isinstance(event, Progress) and event.phase == "train":
            gate.step(next(batches))

    gate.begin(path=prepared.loaded.classifier.proof.path)
    classifier.train(prepared, on_event=on_event)


def fit(gate: Gate, job: dict[str, Any]) -> None:
    """Train to the end, predict; report seconds and accuracies.

    Loading is what preparing plain training takes. If an option makes preparing longer (a pass
    that chooses the depth, say), the difference counts as training.
    """
    content = read_texts(job["texts"])
    classifier, facts = _fitted(job, content)
    for split in ("validation", "test"):
        if split in content and job.get("predict", True):
            probs = classifier.predict_proba(content[split]["texts"])
            predicted = classifier.classes_[probs.argmax(axis=1)]
            equal = predicted == np.array(content[split]["labels"])
            facts[f"{split}_accuracy"] = float(equal.mean())
    gate.finish(**facts)


def fit_probs(gate: Gate, job: dict[str, Any]) -> None:
    """Train to the end; report seconds and the probabilities of validation and test texts."""
    content = read_texts(job["texts"])
    classifier, facts = _fitted(job, content)
    order = [list(classifier.classes_).index(label) for label in job["labels"]]
    probs = {
        split: classifier.predict_proba(content[split]["texts"])[:, order]
        for split in ("validation", "test")
    }
    gate.finish(**facts, probs={split: probs[split].round(6).tolist() for split in probs})


def _fitted(job: dict[str, Any], content: dict[str, Any]) -> tuple[TextClassifier, dict[str, Any]]:
    """Return a trained classifier, and seconds of loading and training."""
    training = examples_of(content["train"])
    validating = examples_of(content.get("validation", content["test"]))
    classifier = make_classifier(job)
    special = set(job.get("options", {})) - {"num_epochs", "learning_rate", "seed"}
    load_seconds = None
    if special:
        started = time.perf_counter()
        plain = make_classifier({**job, "options": {}})
        plain.prepare(training, validating)
        load_seconds = time.perf_counter() - started
        del plain
    started = time.perf_counter()
    prepared = classifier.prepare(training, validating)
    loaded = time.perf_counter()
    result = classifier.train(prepared)
    trained = time.perf_counter()
    if load_seconds is None:
        load_seconds = loaded - started
    load_seconds = min(load_seconds, loaded - started)
    return classifier, {
        "load_seconds": load_seconds,
        "seconds": trained - started - load_seconds,
        "steps": result.num_steps,
        "kept_epoch": result.kept_epoch,
    }


def fit_with_checkpoints(gate: Gate, job: dict[str, Any]) -> None:
    """Train one epoch with a checkpoint every few steps; report the seconds of both."""
    training = examples_of(read_texts(job["texts"])["train"])[: job["num_examples"]]
    classifier = make_classifier(job)
    prepared = classifier.prepare(training, _two_labels(training))
    checkpoints: list[float] = []
    steps: list[float] = []
    last = time.perf_counter()

    def on_event(event: Event) -> None:
        nonlocal last
        if isinstance(event, Progress) and event.phase in ("train", "checkpoint"):
            now = time.perf_counter()
            if event.phase == "train":
                steps.append(now - last)
            elif event.done:
                checkpoints.append(now - last)
            last = now

    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        where = Path(folder) / "checkpoints"
        every = CheckpointSettings(where, every_minutes=None, every_steps=job["checkpoint_steps"])
        classifier.train(prepared, checkpoints=every, on_event=on_event)
        newest = max(path for path in where.iterdir() if path.is_dir())
        num_bytes = sum(path.stat().st_size for path in newest.iterdir())
    gate.finish(
        checkpoint_seconds=checkpoints[:-1],  # the last one is that of the epoch's end
        step_seconds=steps[1:],  # the first one waits for validation texts and memory
        checkpoint_bytes=num_bytes,
    )


def fit_again(gate: Gate, job: dict[str, Any]) -> None:
    """Fit anew at every step; the model is loaded outside of the measured time."""
    content = read_texts(job["texts"])
    training = examples_of(content["train"])[: job["num_examples"]]
    lengths: list[int] = []
    while True:
        classifier = make_classifier(job)
        prepared = classifier.prepare(training, _two_labels(training))
        if lengths:
            gate.resume()
        else:
            lengths = prepared.training.texts.lengths.tolist()
            gate.begin()
        classifier.train(prepared)
        gate.step(lengths)


def predict(gate: Gate, job: dict[str, Any]) -> None:
    """Score a fixed list of texts, a gate after every pass."""
    _switch_off(job)
    _predict(gate, job, TextClassifier.from_pretrained(job["model"], precision=job["precision"]))


def predict_in_template(gate: Gate, job: dict[str, Any]) -> None:
    """Score texts inside a template, by a classifier that was trained with it."""
    content = read_texts(job["texts"])
    few = _two_labels(examples_of(content["train"]))
    classifier = make_classifier({**job, "options": {"template": job["template"]}})
    classifier.train(classifier.prepare(few, few))
    with tempfile.TemporaryDirectory() as folder:
        classifier.save_pretrained(Path(folder) / "model")
        loaded = TextClassifier.from_pretrained(Path(folder) / "model", precision=job["precision"])
    _predict(gate, job, loaded)


def _predict(gate: Gate, job: dict[str, Any], classifier: TextClassifier) -> None:
    part = read_texts(job["texts"])["test"]
    texts = part["texts"][: job["num_texts"]] * job.get("copies", 1)
    lengths = part["num_tokens"][: job["num_texts"]] * job.get("copies", 1)
    gate.begin(sample=classifier.predict_proba(texts[:8]).tolist())
    while True:
        classifier.predict_proba(texts)
        gate.step(lengths)


def predict_single(gate: Gate, job: dict[str, Any]) -> None:
    """Score one text at a time, a gate after every text."""
    _switch_off(job)
    part = read_texts(job["texts"])["test"]
    classifier = TextClassifier.from_pretrained(job["model"], precision=job["precision"])
    texts = list(zip(part["texts"], part["num_tokens"], strict=True))
    gate.begin(sample=classifier.predict_proba([texts[0][0]]).tolist())
    while True:
        for text, length in texts:
            classifier.predict_proba([text])
            gate.step([length])


def _switch_off(job: dict[str, Any]) -> None:
    """Turn off the optimization that the job names, for `switches.py`."""
    if job.get("switch_off"):
        getattr(importlib.import_module("benchmarks.switch_off"), job["switch_off"])()


def _two_labels(training: list[Example]) -> list[Example]:
    """Return one example of each label: validation, made as small as can be."""
    firsts = {example.label: example for example in reversed(training)}
    return list(firsts.values())


def _lengths_by_batch(prepared: Any, classifier: TextClassifier) -> Iterator[list[int]]:  # noqa: ANN401
    """Yield the lengths of each step's texts, in the order in which `train` takes them."""
    lengths = prepared.training.texts.lengths
    for epoch in range(classifier.num_epochs):
        sampler = EpochSampler(
            len(lengths), classifier.batch_size, seed=classifier.seed, epoch=epoch
        )
        for indices in sampler:
            yield lengths[indices].tolist()
