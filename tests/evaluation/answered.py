"""Numbers of a small evaluation, as `metrics.json` holds them, without any model."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit, softmax

from lasttoken.data.examples import Example
from lasttoken.evaluation.baseline import TFIDF, TFIDF_RIDGE, BaselineResult, majority_baseline
from lasttoken.evaluation.caveats import caveats, number_caveats, set_caveats
from lasttoken.evaluation.decisions import Decisions, fit_decisions, fit_set_decisions
from lasttoken.evaluation.evaluate import evaluation_dict
from lasttoken.evaluation.failures import Failures, confident_errors
from lasttoken.evaluation.headline import ACCURACY, MACRO_F1, MEAN_ERROR
from lasttoken.evaluation.multi_label.baselines import commonest_set_baseline
from lasttoken.evaluation.multi_label.failures import set_failures
from lasttoken.evaluation.multi_label.measure import set_evaluation_dict
from lasttoken.evaluation.ordinal import ordinal_evaluation_dict
from lasttoken.evaluation.regression.baselines import mean_baseline
from lasttoken.evaluation.regression.measure import number_evaluation_dict, number_failures
from lasttoken.evaluation.scored import ScoredExamples
from lasttoken.evaluation.thresholds import thresholds_array
from lasttoken.evaluation.verdict import ordinal_verdict, verdict

HISTORY = [
    {
        "epoch": epoch,
        "step": 10 * epoch,
        "train_loss": 0.7 / epoch,
        "train_accuracy": 0.5 + 0.1 * epoch,
        "validation_loss": 0.6 / epoch,
        "validation_accuracy": 0.55 + 0.1 * epoch,
        "validation_macro_f1": 0.54 + 0.1 * epoch,
        "learning_rate": 5e-5,
        "seconds": 12.5,
    }
    for epoch in (1, 2)
]
MISTAKES = ([0] * 5 + [1] * 5, [0, 0, 0, 0, 1, 0, 0, 1, 1, 1])  # matrix ((4, 1), (2, 3))


def scored(
    label_ids: list[int], predicted_ids: list[int], labels: tuple[str, ...], text: str = "text"
) -> ScoredExamples:
    """Return examples answered so, the later the surer, each of its own length."""
    true, predicted = np.array(label_ids), np.array(predicted_ids)
    logits = np.zeros((len(true), len(labels)), dtype=np.float32)
    logits[np.arange(len(true)), predicted] = 1 + np.arange(len(true)) / len(true)
    examples = [
        Example(f"{text} {number}", labels[i], "snow.csv", number + 1, {"topic": f"t{number % 2}"})
        for number, i in enumerate(label_ids)
    ]
    lengths = np.arange(len(true)) + 3
    probs = softmax(logits.astype(np.float64), axis=1)
    return ScoredExamples(examples, true, logits, probs, lengths, lengths > 1000)


def failed_baseline(name: str = TFIDF, reason: str = "no training text holds a word") -> Any:
    return BaselineResult(name, None, {"C": 3.0}, 0.25, reason)


def rest(metrics: dict[str, Any], failures: Failures, **more: Any) -> dict[str, Any]:
    """Add what a run adds to what was measured."""
    words = [[(entry["text"][:2], 0.4), (entry["text"][2:], -0.05)] for entry in failures.entries]
    return {
        **metrics,
        "num_errors": failures.num_errors,
        "num_errors_too_long": failures.num_too_long,
        "explained_by": "leave-one-out",
        "errors": failures.to_list(words),
        "title": "snow with gpt2",
        "notes": ["3 texts were cut."],
        "training": {"history": HISTORY, "kept_epoch": 2},
        "label_issues": None,
        "run": {"Data": {"source": "snow.csv"}},
        **more,
    }


def numbers(
    labels: tuple[str, ...] = ("no", "yes"),
    answers: tuple[list[int], list[int]] = MISTAKES,
    **more: Any,
) -> dict[str, Any]:
    """Return the content of `metrics.json` for answers (true ids, predicted ids)."""
    test = scored(*answers, labels, more.pop("text", "text"))
    decisions = fit_decisions(test.logits, test.targets, labels)
    metrics = evaluation_dict(
        test,
        labels=labels,
        decisions=decisions,
        validation=(test.targets, test.probs),
        baselines=more.pop(
            "baselines",
            [failed_baseline(), majority_baseline(test.targets, test.targets, labels)],
        ),
        slice_by=("topic",),
        precision_at_least=more.pop("precision_at_least", None),
        seed=1,
    )
    failures = confident_errors(test.examples, test.targets, test.probs, labels)
    told = {**metrics, "verdict": verdict(metrics, ACCURACY), "caveats": caveats(metrics)}
    return rest(told, failures, **more)


def ordinal_numbers(labels: tuple[str, ...] = ("low", "mid", "high"), **more: Any) -> Any:
    """Return the content of `metrics.json` for ordinal answers."""
    rng = np.random.default_rng(1)
    true = rng.integers(len(labels), size=60)
    predicted = np.clip(true + rng.integers(-1, 2, size=60), 0, len(labels) - 1)
    test = scored(true.tolist(), predicted.tolist(), labels)
    metrics = ordinal_evaluation_dict(
        test,
        labels=labels,
        decisions=fit_decisions(test.logits, test.targets, labels),
        validation=(test.targets, test.probs),
        baselines=[failed_baseline(), majority_baseline(true, true, labels)],
        slice_by=("topic",),
        seed=1,
    )
    failures = confident_errors(test.examples, test.targets, test.probs, labels)
    told = {**metrics, "verdict": ordinal_verdict(metrics), "caveats": caveats(metrics)}
    return rest(told, failures, **more)


def set_numbers(
    labels: tuple[str, ...] = ("anger", "joy", "love"), *, count: int = 80, **more: Any
) -> Any:
    """Return the content of `metrics.json` for label sets, the last label without an example."""
    rng = np.random.default_rng(2)
    logits = (2 * rng.normal(size=(count, len(labels))) - 1).astype(np.float32)
    probs = expit(logits.astype(np.float64))
    targets = rng.random(probs.shape) < probs
    targets[:, -1] = False
    examples = [
        Example(f"text {n}", "|".join(np.array(labels)[row]), "snow.csv", n + 1, {"topic": "t"})
        for n, row in enumerate(targets)
    ]
    lengths = np.arange(count) + 3
    test = ScoredExamples(examples, targets, logits, probs, lengths, lengths > 1000)
    decisions = fit_set_decisions(logits, targets, labels)
    metrics = set_evaluation_dict(
        test,
        labels=labels,
        decisions=decisions,
        validation=(targets, probs),
        baselines=more.pop(
            "baselines", [failed_baseline(), commonest_set_baseline(targets, targets, labels)]
        ),
        slice_by=("topic",),
        precision_at_least=more.pop("precision_at_least", None),
        seed=1,
    )
    thresholds = thresholds_array(decisions.thresholds, labels)
    failures = set_failures(examples, targets, probs, thresholds, labels)
    told = {
        **metrics,
        "verdict": verdict(metrics, MACRO_F1),
        "caveats": set_caveats(metrics),
    }
    return rest(told, failures, **more)


def value_numbers(name: str = "score", *, count: int = 60, **more: Any) -> Any:
    """Return the content of `metrics.json` for predicted numbers."""
    rng = np.random.default_rng(3)
    targets = 3 + rng.normal(size=count)
    values = targets + rng.normal(size=count) / 2
    examples = [
        Example(f"text {n}", str(target), "snow.csv", n + 1, {"topic": f"t{n % 2}"})
        for n, target in enumerate(targets.tolist())
    ]
    lengths = np.arange(count) + 3
    test = ScoredExamples(
        examples, targets, values[:, None].astype(np.float32), values[:, None], lengths,
        lengths > 50,
    )  # fmt: skip
    metrics = number_evaluation_dict(
        test,
        labels=(name,),
        decisions=Decisions(),
        validation=more.pop("validation", (targets[:30], values[:30, None])),
        baselines=more.pop(
            "baselines", [failed_baseline(TFIDF_RIDGE), mean_baseline(targets, targets)]
        ),
        slice_by=("topic",),
        seed=1,
    )
    history = [
        {**row, "train_accuracy": None, "validation_accuracy": None, "validation_macro_f1": None}
        for row in HISTORY
    ]
    told = {
        **metrics,
        "verdict": verdict(metrics, MEAN_ERROR),
        "caveats": number_caveats(metrics),
    }
    more = {"training": {"history": history, "kept_epoch": 2}, **more}
    return rest(told, number_failures(examples, targets, values), **more)
