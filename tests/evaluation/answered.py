"""Numbers of a small evaluation, as `metrics.json` holds them, without any model."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import softmax

from lasttoken.data.examples import Example
from lasttoken.evaluation.baseline import TFIDF, BaselineResult, majority_baseline
from lasttoken.evaluation.decisions import fit_decisions
from lasttoken.evaluation.evaluate import ScoredExamples, evaluation_dict
from lasttoken.evaluation.failures import confident_errors, errors_dict
from lasttoken.evaluation.verdict import caveats, verdict

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


def numbers(
    labels: tuple[str, ...] = ("no", "yes"),
    answers: tuple[list[int], list[int]] = MISTAKES,
    **more: Any,
) -> dict[str, Any]:
    """Return the content of `metrics.json` for answers (true ids, predicted ids)."""
    test = scored(*answers, labels, more.pop("text", "text"))
    decisions = fit_decisions(test.logits, test.label_ids, labels)
    metrics = evaluation_dict(
        test,
        labels=labels,
        decisions=decisions,
        validation=(test.label_ids, test.probs),
        baselines=more.pop(
            "baselines",
            [failed_baseline(), majority_baseline(test.label_ids, test.label_ids, labels)],
        ),
        slice_by=("topic",),
        precision_at_least=more.pop("precision_at_least", None),
        seed=1,
    )
    errors = confident_errors(test.examples, test.label_ids, test.probs)
    words = [
        [(test.examples[row].text[:2], 0.4), (test.examples[row].text[2:], -0.05)]
        for row in errors.rows.tolist()
    ]
    return {
        **metrics,
        "verdict": verdict(metrics),
        "caveats": caveats(metrics),
        "num_errors": errors.num_errors,
        "num_errors_too_long": errors.num_too_long,
        "explained_by": "leave-one-out",
        "errors": errors_dict(errors, test.examples, labels, words),
        "title": "snow with gpt2",
        "notes": ["3 texts were cut."],
        "training": {"history": HISTORY, "best_epoch": 2},
        "label_issues": None,
        "run": {"Data": {"source": "snow.csv"}},
        **more,
    }
