"""What a finished pass over labeled examples leaves behind: metrics, predictions, plots, page."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lasttoken.data.examples import Example
from lasttoken.data.labels import LabelSpec
from lasttoken.data.writers import write_table
from lasttoken.durable import telling
from lasttoken.estimator import TextClassifier
from lasttoken.evaluation.baseline import BaselineResult, majority_baseline, tfidf_baseline
from lasttoken.evaluation.evaluate import Evaluation, metrics_dict, write_metrics
from lasttoken.evaluation.metrics import ClassificationMetrics, classification_metrics
from lasttoken.evaluation.report.page import ReportContent, write_report
from lasttoken.evaluation.report.plots import write_plots
from lasttoken.events import EpochEnd, EventCallback, Note, Progress, ignore


def label_ids(labels: LabelSpec, examples: Sequence[Example]) -> NDArray[np.int64]:
    """Return the label ids of examples, (N,).

    Raises:
        DatasetError: a label is unknown.
    """
    ids: NDArray[np.int64] = labels.encode(str(example.label) for example in examples).numpy()
    return ids


def run_baselines(
    labels: LabelSpec,
    train: Sequence[Example],
    test: Sequence[Example],
    *,
    seed: int,
    on_event: EventCallback = ignore,
) -> tuple[BaselineResult, ...]:
    """Fit the baselines on the very examples the model is trained on, and score them."""
    train_ids, test_ids = label_ids(labels, train), label_ids(labels, test)
    baselines = (
        tfidf_baseline(
            [example.text for example in train],
            train_ids,
            [example.text for example in test],
            test_ids,
            labels.labels,
            seed=seed,
            on_event=on_event,
        ),
        majority_baseline(train_ids, test_ids, labels.labels),
    )
    for baseline in baselines:
        if baseline.metrics is None:
            on_event(Note(f"no {baseline.name} baseline: {baseline.reason}", is_warning=True))
        else:
            accuracy = baseline.metrics.accuracy
            on_event(Note(f"to beat: {baseline.name}, test accuracy {accuracy:.3f}"))
    return baselines


def score(
    classifier: TextClassifier,
    examples: Sequence[Example],
    logits: NDArray[np.float32],
    path: Path,
) -> ClassificationMetrics:
    """Write the predictions of labeled examples as Parquet, and return their scores.

    The file holds file, row, text hash, true label and logits of each example.

    Shapes:
        logits (N, C), rows in the order of the N examples.
    """
    labels = classifier.loaded_.classifier.labels
    with telling(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    contents = (example.text.encode("utf-8", "surrogatepass") for example in examples)
    write_table(
        path,
        {
            "file": [example.file for example in examples],
            "row": [example.row for example in examples],
            "text_sha256": [hashlib.sha256(content).hexdigest() for content in contents],
            "label": [example.label for example in examples],
            "logits": logits.astype(np.float64).tolist(),
        },
    )
    return classification_metrics(
        label_ids(labels, examples), classifier.probs(logits), labels.labels
    )


def write_results(
    folder: Path,
    evaluation: Evaluation,
    labels: LabelSpec,
    *,
    title: str,
    history: Sequence[EpochEnd] = (),
    best_epoch: int | None = None,
    facts: Mapping[str, Mapping[str, str]],
    notes: Sequence[str] = (),
    on_event: EventCallback = ignore,
) -> dict[str, Any]:
    """Write `metrics.json`, `plots/` and `report.html`, all from the same numbers.

    Returns:
        The content of `metrics.json`.
    """
    on_event(Progress("report", 0, 2, "files"))
    metrics = metrics_dict(evaluation, labels.labels)
    write_metrics(folder / "metrics.json", metrics)
    on_event(Progress("report", 1, 2, "files"))
    rows = [history_row(epoch) for epoch in history]
    with telling(folder / "plots"):
        plots = write_plots(folder / "plots", rows, evaluation.test, best_epoch)
    write_report(
        folder / "report.html",
        ReportContent(
            title=title,
            verdict=evaluation.verdict,
            labels=labels.labels,
            test=evaluation.test,
            validation=evaluation.validation,
            baselines=evaluation.baselines,
            history=rows,
            best_epoch=best_epoch,
            plots=plots,
            facts=facts,
            notes=notes,
        ),
    )
    on_event(Progress("report", 2, 2, "files"))
    return metrics


def history_row(epoch: EpochEnd) -> dict[str, Any]:
    """Return an epoch's line of `history.jsonl`."""
    row = dataclasses.asdict(epoch)
    del row["is_best"]
    return row
