"""What a finished pass over labeled examples leaves behind: metrics, predictions, plots, page."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lasttoken.config import EvaluateConfig, ExplainMethod, TrainConfig
from lasttoken.data.examples import Example
from lasttoken.data.labels import LabelSpec
from lasttoken.durable import telling
from lasttoken.errors import ConfigError
from lasttoken.estimator import TextClassifier
from lasttoken.evaluation.baseline import BaselineResult, majority_baseline, tfidf_baseline
from lasttoken.evaluation.decisions import Decisions
from lasttoken.evaluation.evaluate import ScoredExamples, evaluation_dict, write_metrics
from lasttoken.evaluation.explain import explain
from lasttoken.evaluation.failures import ConfidentErrors, confident_errors, errors_dict
from lasttoken.evaluation.metrics import LabelIds, Probs
from lasttoken.evaluation.report.page import write_report
from lasttoken.evaluation.report.plots import write_plots
from lasttoken.evaluation.verdict import caveats, verdict
from lasttoken.evaluation.words import has_places
from lasttoken.events import EpochEnd, EventCallback, Note, Progress, ignore
from lasttoken.model.folder import LoadedModel
from lasttoken.model.tokens import TokenizedTexts
from lasttoken.runs.examples import slice_columns
from lasttoken.runs.predictions import write_predictions


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
    texts: TokenizedTexts,
    logits: NDArray[np.float32],
    path: Path,
) -> ScoredExamples:
    """Keep the predictions of labeled examples, and return them.

    Shapes:
        texts N; logits (N, C); rows in the order of the N examples.
    """
    write_predictions(path, examples, logits)
    labels = classifier.loaded_.classifier.labels
    return ScoredExamples(
        examples,
        label_ids(labels, examples),
        logits,
        classifier.probs(logits),
        texts.num_tokens,
        texts.truncated,
    )


@dataclass(frozen=True)
class ReportSettings:
    """What a report is asked to show beside what it always shows.

    Attributes:
        slice_by: columns by which accuracy is told apart.
        precision_at_least: a wished precision of each label, or None.
        explain: how the words that mattered are found.
        seed: of the bootstraps.
    """

    slice_by: tuple[str, ...]
    precision_at_least: float | None
    explain: ExplainMethod
    seed: int


def report_settings(
    config: TrainConfig | EvaluateConfig, seed: int, examples: Sequence[Example]
) -> ReportSettings:
    """Return what a report of these examples is asked to show.

    Raises:
        ConfigError: `--slice-by` names a column that no example has.
    """
    columns = slice_columns(config.slice_by, examples)
    return ReportSettings(columns, config.precision_at_least, config.explain, seed)


def check_explainable(method: ExplainMethod, loaded: LoadedModel) -> None:
    """Check, before the work, that the words of texts can be told apart.

    Raises:
        ConfigError: integrated gradients of a tokenizer that does not tell where tokens stand, or
            a task whose report cannot be written yet.
    """
    if loaded.classifier.labels.kind in ("multi_label", "regression"):
        raise ConfigError(
            f"task {loaded.classifier.labels.kind}: its report cannot be written yet",
            expected="single-label or ordinal",
            remedy="TextClassifier in Python, which learns it",
        )
    if method == "integrated-gradients" and not has_places(loaded):
        raise ConfigError(
            "--explain integrated-gradients: the model's tokenizer does not tell where its tokens "
            "stand in a text",
            expected="a fast tokenizer (tokenizer.json)",
            remedy="--explain leave-one-out",
        )


def measure(
    classifier: TextClassifier,
    test: ScoredExamples,
    *,
    validation: tuple[LabelIds, Probs] | None,
    baselines: Sequence[BaselineResult],
    settings: ReportSettings,
    on_event: EventCallback = ignore,
) -> dict[str, Any]:
    """Return all that is measured of a classifier's answers, in the form of `metrics.json`."""
    labels, record = classifier.loaded_.classifier.labels.labels, classifier.loaded_.record
    on_event(Progress("report", 0, 3, "parts"))
    metrics = evaluation_dict(
        test,
        labels=labels,
        decisions=Decisions.from_record(
            record.temperature, record.coverage_levels, record.thresholds
        ),
        validation=validation,
        baselines=baselines,
        slice_by=settings.slice_by,
        precision_at_least=settings.precision_at_least,
        seed=settings.seed,
    )
    on_event(Progress("report", 1, 3, "parts"))
    errors = confident_errors(test.examples, test.label_ids, test.probs)
    words = _words(classifier, test.examples, errors, settings.explain, on_event)
    return {
        **metrics,
        "verdict": verdict(metrics),
        "caveats": caveats(metrics),
        "num_errors": errors.num_errors,
        "num_errors_too_long": errors.num_too_long,
        "explained_by": settings.explain,
        "errors": errors_dict(errors, test.examples, labels, words),
    }


def write_results(
    folder: Path,
    metrics: Mapping[str, Any],
    *,
    title: str,
    facts: Mapping[str, Mapping[str, str]],
    notes: Sequence[str] = (),
    history: Sequence[EpochEnd] = (),
    best_epoch: int | None = None,
    label_issues: Mapping[str, Any] | None = None,
    on_event: EventCallback = ignore,
) -> dict[str, Any]:
    """Write `metrics.json`, `plots/` and `report.html`, all from the same numbers.

    Returns:
        The content of `metrics.json`.
    """
    rows = [history_row(epoch) for epoch in history]
    complete = {
        **metrics,
        "title": title,
        "notes": list(notes),
        "training": {"history": rows, "best_epoch": best_epoch} if rows else None,
        "label_issues": label_issues,
        "run": facts,
    }
    write_metrics(folder / "metrics.json", complete)
    on_event(Progress("report", 2, 3, "parts"))
    with telling(folder / "plots"):
        plots = write_plots(folder / "plots", complete)
    write_report(folder / "report.html", complete, plots)
    on_event(Progress("report", 3, 3, "parts"))
    return complete


def history_row(epoch: EpochEnd) -> dict[str, Any]:
    """Return an epoch's line of `history.jsonl`."""
    row = dataclasses.asdict(epoch)
    del row["is_best"]
    return row


def _words(
    classifier: TextClassifier,
    examples: Sequence[Example],
    errors: ConfidentErrors,
    method: ExplainMethod,
    on_event: EventCallback,
) -> list[list[tuple[str, float]]]:
    """Return the parts of each wrongly answered text, and how much each spoke for the answer."""
    if method == "none" or not len(errors.rows):
        return []
    texts = [examples[row].text for row in errors.rows.tolist()]
    explained = explain(classifier, texts, errors.predicted_ids, method=method, on_event=on_event)
    return [[(span.text, span.weight) for span in spans] for spans in explained]
