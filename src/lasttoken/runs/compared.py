"""Runs and evaluations that are compared: read back, and checked against their own scores."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax

from lasttoken.data.labels import LabelSpec
from lasttoken.data.tasks import kind_of
from lasttoken.data.written import SEPARATOR
from lasttoken.errors import DatasetError, RunError
from lasttoken.evaluation.compare import Answers
from lasttoken.evaluation.evaluate import SCHEMA_VERSION
from lasttoken.evaluation.kinds import KINDS
from lasttoken.runs.predictions import TEST, StoredPredictions, read_predictions
from lasttoken.runs.record import RECORD_NAME, read_record

ExampleKey = tuple[str, str, int]  # text hash, label, and the how-manieth of these


@dataclass(frozen=True)
class FinishedRun:
    """A finished run or evaluation.

    Attributes:
        folder: where it is.
        metrics: the content of its `metrics.json`.
        record: of `run.json`, its own or that of the run it evaluates; empty if there is none.
        stored: what it said of the test examples.
        places: where each example stands among them.
    """

    folder: Path
    metrics: Mapping[str, Any]
    record: Mapping[str, Any]
    stored: StoredPredictions
    places: Mapping[ExampleKey, int]

    @property
    def task(self) -> str:
        """Return the kind of its labels; runs before there were several do not tell."""
        return str(self.metrics.get("task", "single-label"))

    @property
    def spec(self) -> LabelSpec:
        """Return its labels, with the separator that its sets are written with."""
        settings = self.record.get("settings", {})
        return LabelSpec(
            tuple(self.metrics["labels"]),
            kind_of(self.task),
            separator=settings.get("label_separator") or SEPARATOR,
        )


def read_finished(path: str) -> FinishedRun:
    """Read a run or an evaluation.

    Raises:
        RunError: it is neither, or not finished.
    """
    folder = Path(path)
    try:
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        labels = metrics["labels"]
        recorded = metrics["test"][_CHECKED[metrics.get("task", "single-label")]]
        is_ours = metrics["schema_version"] == SCHEMA_VERSION
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = "is not there" if not folder.exists() else "holds no finished run or evaluation"
        raise _no_run(folder, what) from error
    if not is_ours:
        raise _no_run(folder, "metrics.json is of another version")
    if (folder / RECORD_NAME).exists() and (read_record(folder) or {}).get("status") != "finished":
        raise _no_run(folder, "this run is not finished")
    stored = read_predictions(folder / TEST)
    if stored.logits.shape != (len(stored.labels), len(labels)):
        raise RunError(
            f"{folder / TEST}: {stored.logits.shape[-1]} logits an example",
            expected=f"{len(labels)}, one for each label of metrics.json",
            remedy="make the run or evaluation anew",
        )
    record = read_record(folder) or read_record(folder.parent.parent) or {}
    run = FinishedRun(folder, metrics, record, stored, _places(stored))
    if not np.isfinite(stored.logits).all() or abs(_score_again(run) - recorded) > 1e-9:
        raise RunError(
            f"{folder}: {TEST} does not give the scores of metrics.json",
            expected="the two as they were written together",
            remedy="make the run or evaluation anew",
        )
    return run


def _places(stored: StoredPredictions) -> dict[ExampleKey, int]:
    """Return where each example stands."""
    seen: Counter[tuple[str, str]] = Counter()
    places: dict[ExampleKey, int] = {}
    pairs = zip(stored.texts_sha256, stored.labels, strict=True)
    for place, (text, label) in enumerate(pairs):
        places[(text, label, seen[(text, label)])] = place
        seen[(text, label)] += 1
    return places


def _score_again(run: FinishedRun) -> float:
    """Return the score of `_CHECKED` as the stored predictions give it."""
    try:
        truth = KINDS[run.spec.kind].targets(run.spec, run.stored.labels)
    except DatasetError:  # labels that metrics.json does not know
        return float("inf")
    answers = answers_of(run, range(len(truth)), run.spec.labels)
    return _SCORE[run.task](truth, answers)


def _accuracy(truth: NDArray[Any], answers: Answers) -> float:
    return float((answers.probs.argmax(axis=1) == truth).mean())


def _exactly_right(truth: NDArray[Any], answers: Answers) -> float:
    return float((answers.given == truth).all(axis=1).mean())


def _mean_error(truth: NDArray[Any], answers: Answers) -> float:
    return float(np.abs(answers.probs[:, 0] - truth).mean())


def _no_run(folder: Path, what: str) -> RunError:
    return RunError(
        f"{folder}: {what}",
        expected="a finished run, or an evaluation such as RUN/evaluations/FILE",
        remedy="lasttoken train, or lasttoken evaluate, then compare",
    )


def answers_of(run: FinishedRun, rows: Sequence[int], labels: Sequence[str]) -> Answers:
    """Return a run's answers to the examples in these rows, labels in the order of the first."""
    order = [run.metrics["labels"].index(label) for label in labels]
    return _ANSWERS[run.task](run, run.stored.logits[rows][:, order], labels)


def _of_labels(run: FinishedRun, logits: NDArray[np.float64], labels: Sequence[str]) -> Answers:
    return Answers(np.asarray(softmax(logits, axis=1)))


def _of_sets(run: FinishedRun, logits: NDArray[np.float64], labels: Sequence[str]) -> Answers:
    per_label = run.metrics["test"]["per_label"]
    thresholds = np.array([per_label[label]["threshold"] for label in labels])
    # In single precision, as the model does, so that no label falls to the other side.
    probs = torch.from_numpy(logits.astype(np.float32)).sigmoid().double().numpy()
    return Answers(probs, thresholds)


def _of_numbers(run: FinishedRun, logits: NDArray[np.float64], labels: Sequence[str]) -> Answers:
    return Answers(logits)


# By task: the score of metrics.json that predictions must give again, how, and what they mean.
_CHECKED = {
    "single-label": "accuracy",
    "ordinal": "accuracy",
    "multi-label": "subset_accuracy",
    "regression": "mae",
}
_SCORE: Mapping[str, Callable[[NDArray[Any], Answers], float]] = {
    "single-label": _accuracy,
    "ordinal": _accuracy,
    "multi-label": _exactly_right,
    "regression": _mean_error,
}
_ANSWERS: Mapping[str, Callable[[FinishedRun, NDArray[np.float64], Sequence[str]], Answers]] = {
    "single-label": _of_labels,
    "ordinal": _of_labels,
    "multi-label": _of_sets,
    "regression": _of_numbers,
}
