"""Comparing runs that answered the same test examples: which is better, if any is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from lasttoken.evaluation.calibration import calibration_dict
from lasttoken.evaluation.evaluate import abstaining_dict, scores_dict
from lasttoken.evaluation.intervals import CONFIDENCE, wilson
from lasttoken.evaluation.metrics import LabelIds, Probs
from lasttoken.evaluation.paired import paired_difference

SCHEMA_VERSION = 1
COVERAGES = (0.5, 0.7, 0.8, 0.9, 1.0)  # of the table beside the curve


def comparison_dict(
    label_ids: LabelIds, answers: Mapping[str, Probs], labels: Sequence[str], *, seed: int
) -> dict[str, Any]:
    """Return the scores of every run and the differences of every pair, as `comparison.json`.

    The better of two is named only where the interval of their accuracies' difference excludes
    zero; with more than two runs the intervals are wider, so that all of them hold together in 95
    of 100 cases (Bonferroni).

    Args:
        label_ids: (N,), the true labels.
        answers: name of each run to its probabilities (N, C), at least two runs.
        labels: C labels.
        seed: of the bootstraps.
    """
    rng = np.random.default_rng(seed)
    runs = {  # each with the same draws, so that equal answers have equal intervals
        name: {
            "scores": scores_dict(label_ids, probs, labels, np.random.default_rng(seed)),
            "calibration": calibration_dict(label_ids, probs, rng=np.random.default_rng(seed)),
            "abstaining": abstaining_dict(label_ids, probs, ()),
            "at_coverage": at_coverages(label_ids, probs),
        }
        for name, probs in answers.items()
    }
    names = list(answers)
    pairs = list(combinations(names, 2))
    confidence = 1 - (1 - CONFIDENCE) / len(pairs)
    found = []
    for first, second in pairs:
        difference = paired_difference(
            label_ids,
            answers[first].argmax(axis=1),
            answers[second].argmax(axis=1),
            len(labels),
            rng=rng,
            confidence=confidence,
        )
        low, high = difference.accuracy_interval
        better = first if low > 0 else second if high < 0 else None
        found.append({"first": first, "second": second, **difference.to_dict(), "better": better})
    return {
        "schema_version": SCHEMA_VERSION,
        "labels": list(labels),
        "num_examples": len(label_ids),
        "confidence": confidence,
        "runs": runs,
        "pairs": found,
        "verdict": comparison_verdict(runs, found, len(label_ids)),
    }


def at_coverages(label_ids: LabelIds, probs: Probs) -> list[dict[str, Any]]:
    """Return the accuracy of the surest half of the answers, the surest 70 % ... and of all."""
    predicted_ids = probs.argmax(axis=1)
    order = np.argsort(-probs.max(axis=1), kind="stable")
    right = (predicted_ids == label_ids)[order]
    found = []
    for coverage in COVERAGES:
        count = max(1, round(coverage * len(right)))
        hits = int(right[:count].sum())
        found.append(
            {
                "coverage": coverage,
                "accuracy": hits / count,
                "interval": list(wilson(hits, count)),
            }
        )
    return found


def comparison_verdict(
    runs: Mapping[str, Any], pairs: Sequence[Mapping[str, Any]], num_examples: int
) -> str:
    """Say which run is the best, or that no difference is shown."""
    examples = f"{num_examples:,} test example" + ("s" if num_examples != 1 else "")
    best = max(runs, key=lambda name: float(runs[name]["scores"]["accuracy"]))
    of_best = [pair for pair in pairs if best in (pair["first"], pair["second"])]
    beaten = [pair for pair in of_best if pair["better"] == best]
    shown = ", ".join(f"{name} {each['scores']['accuracy']:.3f}" for name, each in runs.items())
    if len(beaten) == len(of_best):
        others = "the other" if len(of_best) == 1 else "every other"
        return (
            f"{best} is better than {others} on the same {examples}: "
            + "; ".join(_lead(pair, best) for pair in beaten)
            + f". Accuracy: {shown}."
        )
    sentences = [f"No best run is shown on the same {examples}. Accuracy: {shown}."]
    sentences += [
        f"{pair['better']} is better than "
        f"{pair['second'] if pair['better'] == pair['first'] else pair['first']}: "
        f"{_lead(pair, str(pair['better']))}."
        for pair in pairs
        if pair["better"] is not None
    ]
    sentences += [
        f"Between {pair['first']} and {pair['second']} the difference may be chance "
        f"({_lead(pair, str(pair['first']))})."
        for pair in pairs
        if pair["better"] is None
    ]
    return " ".join(sentences)


def _lead(pair: Mapping[str, Any], of: str) -> str:
    """Return "2.1 points (0.4 to 3.8)" of accuracy that one of a pair is ahead."""
    sign = 1 if of == pair["first"] else -1
    low, high = sorted(100 * sign * end for end in pair["accuracy_interval"])
    other = pair["second"] if sign == 1 else pair["first"]
    return f"{100 * sign * pair['accuracy']:+.1f} points ({low:.1f} to {high:.1f}) over {other}"
