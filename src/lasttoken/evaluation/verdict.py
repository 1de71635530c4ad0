"""The verdict: in a few plain words, whether the model is worth more than its baselines."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lasttoken.evaluation.baseline import MAJORITY, TFIDF, BaselineResult
from lasttoken.evaluation.metrics import ClassificationMetrics

_NAMES = {TFIDF: "TF-IDF + logistic regression", MAJORITY: "always answering the commonest label"}
_SHORT_NAMES = {TFIDF: "TF-IDF", MAJORITY: "majority"}
_ADVICE = {
    TFIDF: "Use it instead, or train with more examples, more epochs or a larger model.",
    MAJORITY: (
        "The model has learned nothing of use yet: check the labels, or train with more examples, "
        "more epochs or another learning rate."
    ),
}


def verdict(test: ClassificationMetrics, baselines: Sequence[BaselineResult]) -> str:
    """Say how the model's test accuracy stands beside its baselines', and who wins.

    A baseline that wins or ties is named first. Macro F1 is told too where it contradicts
    accuracy, a difference that chance may explain is called that, and a baseline that could not
    be made is named with its reason.

    Source:
        Chance: the two-sample z test of proportions at 5 %. Both answered the same examples, so
        it errs on the side of doubt; a paired test would need every answer of both.
    """
    examples = f"{test.num_examples:,} test example" + ("s" if test.num_examples != 1 else "")
    counted = f"{test.num_correct:,} of {examples} right"
    scored = [(entry.name, entry.metrics) for entry in baselines if entry.metrics is not None]
    sentences = []
    if scored:
        # The largest by accuracy; of equals the first.
        name, rival = max(scored, key=lambda entry: entry[1].num_correct)
        disagree = (test.num_correct - rival.num_correct) * (test.macro_f1 - rival.macro_f1) < 0
        if rival.num_correct > test.num_correct:
            sentences.append(
                f"The {_SHORT_NAMES[name]} baseline wins: {_share(rival.accuracy)} against "
                f"{_share(test.accuracy)} on {examples}."
            )
        elif rival.num_correct == test.num_correct:
            sentences.append(
                f"A tie with the {_SHORT_NAMES[name]} baseline: both {_share(test.accuracy)} "
                f"({counted})."
            )
        else:
            gains = " and ".join(
                f"{100 * (test.accuracy - metrics.accuracy):.1f} points above {_NAMES[name]} "
                f"({_share(metrics.accuracy)})"
                for name, metrics in scored
            )
            sentences.append(f"Accuracy {_share(test.accuracy)} ({counted}): {gains}.")
        if disagree:
            sentences.append(
                "Macro F1, which counts rare labels as much as common ones, says the opposite: "
                f"{_share(test.macro_f1)} for the model, {_share(rival.macro_f1)} for the "
                f"{_SHORT_NAMES[name]} baseline."
            )
        elif rival.num_correct >= test.num_correct:
            sentences.append(_ADVICE[name])
        if _may_be_chance(test, rival):
            sentences.append(f"With {examples}, a difference this small may be chance.")
    else:
        sentences.append(f"Accuracy {_share(test.accuracy)} ({counted}).")
    sentences += [
        f"{_NAMES[entry.name][0].upper()}{_NAMES[entry.name][1:]} has no score: {entry.reason}."
        for entry in baselines
        if entry.metrics is None
    ]
    return " ".join(sentences)


def _may_be_chance(one: ClassificationMetrics, other: ClassificationMetrics) -> bool:
    """Return True if two different accuracies on N examples are within sampling error."""
    if one.num_correct == other.num_correct:
        return False
    mean = (one.accuracy + other.accuracy) / 2
    error = math.sqrt(2 * mean * (1 - mean) / one.num_examples)
    return abs(one.accuracy - other.accuracy) < 1.96 * error


def _share(value: float) -> str:
    return f"{value:.3f}"
