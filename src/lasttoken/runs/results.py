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
from lasttoken.data.examples import Example, second_texts
from lasttoken.data.labels import LabelSpec
from lasttoken.data.splits import Splits
from lasttoken.data.tasks import name_of
from lasttoken.durable import telling
from lasttoken.errors import ConfigError
from lasttoken.estimator import TextClassifier
from lasttoken.evaluation.baseline import BaselineResult, Scores
from lasttoken.evaluation.decisions import Decisions
from lasttoken.evaluation.evaluate import write_metrics
from lasttoken.evaluation.explain import explain
from lasttoken.evaluation.failures import Failures
from lasttoken.evaluation.kinds import KINDS, LabeledSplits, LabeledTexts
from lasttoken.evaluation.metrics import Probs
from lasttoken.evaluation.report.page import write_report
from lasttoken.evaluation.report.plots import write_plots
from lasttoken.evaluation.scored import ScoredExamples
from lasttoken.evaluation.windows import deciding_windows
from lasttoken.evaluation.words import has_places
from lasttoken.events import EpochEnd, EventCallback, Note, Progress, ignore
from lasttoken.model.folder import LoadedModel
from lasttoken.model.tokens import TokenizedTexts
from lasttoken.runs.examples import slice_columns
from lasttoken.runs.predictions import write_predictions


def targets(labels: LabelSpec, examples: Sequence[Example]) -> NDArray[Any]:
    """Return the truth that answers are scored against, as `ScoredExamples.targets`.

    Raises:
        DatasetError: a label is unknown, or no number where numbers are predicted.
    """
    return KINDS[labels.kind].targets(labels, [str(example.label) for example in examples])


def run_baselines(
    labels: LabelSpec, splits: Splits, *, seed: int, on_event: EventCallback = ignore
) -> tuple[BaselineResult[Scores], ...]:
    """Fit the baselines on the very examples the model is trained on, and score them."""
    kind = KINDS[labels.kind]
    parts = (
        LabeledTexts([example.whole_text for example in examples], targets(labels, examples))
        for examples in (splits.train, splits.validation, splits.test)
    )
    baselines = kind.baselines(LabeledSplits(*parts), labels.labels, seed, on_event)
    for baseline in baselines:
        if baseline.metrics is None:
            on_event(Note(f"no {baseline.name} baseline: {baseline.reason}", is_warning=True))
        else:
            headline = kind.headline
            shown = headline.form(getattr(baseline.metrics, headline.key))
            on_event(Note(f"to beat: {baseline.name}, test {headline.spoken} {shown}"))
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
        targets(labels, examples),
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


def check_reportable(config: TrainConfig | EvaluateConfig, loaded: LoadedModel) -> None:
    """Check, before the work, that all that the report is asked for has a meaning here.

    Raises:
        ConfigError: integrated gradients of a tokenizer that does not tell where tokens stand, or
            of a task without log odds; a wished precision, or a search for wrong labels, of a task
            that has none.
    """
    labels = loaded.classifier.labels
    kind, task = KINDS[labels.kind], name_of(labels.kind)
    if config.explain == "integrated-gradients" and not kind.has_log_odds:
        raise ConfigError(
            f"--explain integrated-gradients: the task is {task}",
            expected="a task in which each text has one label",
            remedy="--explain leave-one-out",
        )
    if config.explain == "integrated-gradients" and not has_places(loaded):
        raise ConfigError(
            "--explain integrated-gradients: the model's tokenizer does not tell where its tokens "
            "stand in a text",
            expected="a fast tokenizer (tokenizer.json)",
            remedy="--explain leave-one-out",
        )
    if config.precision_at_least is not None and not kind.has_precision:
        raise ConfigError(
            f"--precision-at-least {config.precision_at_least}: the task is {task}",
            expected="a task with labels, which are given rightly or wrongly",
            remedy="leave it out; the report tells how far off predicted values may be",
        )
    if config.label_check and not kind.has_label_check:
        raise ConfigError(
            f"--label-check: the task is {task}",
            expected="a task in which each text has one label",
            remedy="leave it out",
        )


def measure(
    classifier: TextClassifier,
    test: ScoredExamples,
    *,
    validation: tuple[NDArray[Any], Probs] | None,
    baselines: Sequence[BaselineResult[Scores]],
    settings: ReportSettings,
    on_event: EventCallback = ignore,
) -> dict[str, Any]:
    """Return all that is measured of a classifier's answers, in the form of `metrics.json`."""
    spec, record = classifier.loaded_.classifier.labels, classifier.loaded_.record
    kind = KINDS[spec.kind]
    decisions = Decisions.from_record(record.temperature, record.coverage_levels, record.thresholds)
    on_event(Progress("report", 0, 3, "parts"))
    metrics = kind.measure(
        test,
        labels=spec.labels,
        decisions=decisions,
        validation=validation,
        baselines=baselines,
        slice_by=settings.slice_by,
        precision_at_least=settings.precision_at_least,
        seed=settings.seed,
    )
    on_event(Progress("report", 1, 3, "parts"))
    failures = kind.failures(test, spec.labels, decisions)
    words = _words(classifier, test.examples, failures, settings.explain, on_event)
    windows = _windows(classifier, test.examples, failures, on_event)
    return {
        **metrics,
        "verdict": kind.verdict(metrics),
        "caveats": kind.caveats(metrics),
        "num_errors": failures.num_errors,
        "num_errors_too_long": failures.num_too_long,
        "explained_by": settings.explain,
        "errors": failures.to_list(words, windows),
    }


def write_results(
    folder: Path,
    metrics: Mapping[str, Any],
    *,
    title: str,
    facts: Mapping[str, Mapping[str, str]],
    notes: Sequence[str] = (),
    history: Sequence[EpochEnd] = (),
    kept_epoch: int | None = None,
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
        "training": {"history": rows, "kept_epoch": kept_epoch} if rows else None,
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
    del row["is_kept"]
    return row


def _windows(
    classifier: TextClassifier,
    examples: Sequence[Example],
    failures: Failures,
    on_event: EventCallback,
) -> list[dict[str, Any] | None]:
    """Return which window of each wrongly answered text spoke most for the answer."""
    if classifier.loaded_.record.reading.window_length is None or not len(failures.rows):
        return []
    wrong = [examples[row] for row in failures.rows.tolist()]
    texts, pairs = [example.text for example in wrong], second_texts(wrong)
    return deciding_windows(
        classifier,
        texts,
        failures.explained,
        pairs=pairs,
        errors=failures.errors,
        on_event=on_event,
    )


def _words(
    classifier: TextClassifier,
    examples: Sequence[Example],
    failures: Failures,
    method: ExplainMethod,
    on_event: EventCallback,
) -> list[list[tuple[str, float]]]:
    """Return the parts of each wrongly answered text, and how much each spoke for the answer."""
    if method == "none" or not len(failures.rows):
        return []
    wrong = [examples[row] for row in failures.rows.tolist()]
    explained = explain(
        classifier,
        [example.text for example in wrong],
        failures.explained,
        pairs=second_texts(wrong),
        method=method,
        on_event=on_event,
    )
    return [[(span.text, span.weight) for span in spans] for spans in explained]
