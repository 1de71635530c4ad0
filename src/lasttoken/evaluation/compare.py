"""Comparing runs that answered the same test examples: which is better, if any is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lasttoken.evaluation.calibration import calibration_dict
from lasttoken.evaluation.evaluate import abstaining_dict, scores_dict
from lasttoken.evaluation.headline import ACCURACY, MACRO_F1, MEAN_ERROR, Headline, tested
from lasttoken.evaluation.intervals import CONFIDENCE, wilson
from lasttoken.evaluation.metrics import LabelIds, Probs
from lasttoken.evaluation.multi_label.calibration import set_calibration_dict
from lasttoken.evaluation.multi_label.intervals import set_difference
from lasttoken.evaluation.multi_label.measure import set_scores_dict
from lasttoken.evaluation.multi_label.metrics import Sets
from lasttoken.evaluation.ordinal import add_ordinal_scores, ordinal_difference
from lasttoken.evaluation.paired import paired_difference
from lasttoken.evaluation.regression.measure import number_scores_dict
from lasttoken.evaluation.regression.metrics import Numbers, number_difference
from lasttoken.evaluation.regression.spread import bins_list, points_list

SCHEMA_VERSION = 1
COVERAGES = (0.5, 0.7, 0.8, 0.9, 1.0)  # of the table beside the curve


@dataclass(frozen=True)
class Answers:
    """What a run said of N examples.

    Attributes:
        probs: (N, C); of a regression the predicted values, (N, 1).
        thresholds: (C,) from which probability on each label of a set is given; of other tasks
            there are none.
    """

    probs: Probs
    thresholds: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    @property
    def given(self) -> Sets:
        """Return the label sets (N, C)."""
        return np.asarray(self.probs >= self.thresholds)


def comparison_dict(
    targets: NDArray[Any],
    answers: Mapping[str, Answers],
    labels: Sequence[str],
    *,
    task: str,
    seed: int,
) -> dict[str, Any]:
    """Return the scores of every run and the differences of every pair, as `comparison.json`.

    The better of two is named only where the interval of the difference of their headline scores
    (accuracy, macro F1 of sets, mean absolute error of numbers) excludes zero; with more than two
    runs the intervals are wider, so that all of them hold together in 95 of 100 cases
    (Bonferroni).

    Args:
        targets: the truth, as `ScoredExamples.targets`.
        answers: name of each run to what it said, at least two runs.
        labels: C labels.
        task: as in `metrics.json`.
        seed: of the bootstraps.
    """
    kind = _COMPARED[task]
    rng = np.random.default_rng(seed)
    runs = {  # each with the same draws, so that equal answers have equal intervals
        name: kind.scores(targets, each, labels, seed) for name, each in answers.items()
    }
    pairs = list(combinations(answers, 2))
    confidence = 1 - (1 - CONFIDENCE) / len(pairs)
    found = []
    for first, second in pairs:
        difference = kind.differ(
            targets, answers[first], answers[second], labels, rng=rng, confidence=confidence
        )
        _, low, high = kind.headline.improvement(difference)
        better = first if low > 0 else second if high < 0 else None
        found.append({"first": first, "second": second, **difference, "better": better})
    return {
        "schema_version": SCHEMA_VERSION,
        "task": task,
        "labels": list(labels),
        "num_examples": len(targets),
        "confidence": confidence,
        "runs": runs,
        "pairs": found,
        "verdict": comparison_verdict(runs, found, len(targets), kind.headline),
    }


def _label_scores(
    label_ids: LabelIds, answers: Answers, labels: Sequence[str], seed: int
) -> dict[str, Any]:
    probs = answers.probs
    return {
        "scores": scores_dict(label_ids, probs, labels, np.random.default_rng(seed)),
        "calibration": calibration_dict(label_ids, probs, rng=np.random.default_rng(seed)),
        "abstaining": abstaining_dict(label_ids, probs, ()),
        "at_coverage": at_coverages(label_ids, probs),
    }


def _ordinal_scores(
    label_ids: LabelIds, answers: Answers, labels: Sequence[str], seed: int
) -> dict[str, Any]:
    found = _label_scores(label_ids, answers, labels, seed)
    predicted_ids = answers.probs.argmax(axis=1)
    rng = np.random.default_rng(seed)
    add_ordinal_scores(found["scores"], label_ids, predicted_ids, len(labels), rng)
    return found


def _label_difference(
    label_ids: LabelIds,
    first: Answers,
    second: Answers,
    labels: Sequence[str],
    *,
    rng: np.random.Generator,
    confidence: float,
) -> dict[str, Any]:
    one, other = first.probs.argmax(axis=1), second.probs.argmax(axis=1)
    return paired_difference(
        label_ids, one, other, len(labels), rng=rng, confidence=confidence
    ).to_dict()


def _place_difference(
    label_ids: LabelIds,
    first: Answers,
    second: Answers,
    labels: Sequence[str],
    *,
    rng: np.random.Generator,
    confidence: float,
) -> dict[str, Any]:
    ids = (each.probs.argmax(axis=1) for each in (first, second))
    return {
        **_label_difference(label_ids, first, second, labels, rng=rng, confidence=confidence),
        **ordinal_difference(label_ids, *ids, rng=rng, confidence=confidence),
    }


def _set_scores(
    targets: Sets, answers: Answers, labels: Sequence[str], seed: int
) -> dict[str, Any]:
    probs, thresholds, rng = answers.probs, answers.thresholds, np.random.default_rng(seed)
    return {
        "scores": set_scores_dict(targets, probs, thresholds, labels, rng),
        "calibration": set_calibration_dict(targets, probs, rng=np.random.default_rng(seed)),
    }


def _set_difference(
    targets: Sets,
    first: Answers,
    second: Answers,
    labels: Sequence[str],
    *,
    rng: np.random.Generator,
    confidence: float,
) -> dict[str, Any]:
    return set_difference(
        targets, first.given, second.given, rng=rng, confidence=confidence
    ).to_dict()


def _number_scores(
    targets: Numbers, answers: Answers, labels: Sequence[str], seed: int
) -> dict[str, Any]:
    values, rng = answers.probs[:, 0], np.random.default_rng(seed)
    return {
        "scores": number_scores_dict(targets, values, rng),
        "bins": bins_list(targets, values),
        "points": points_list(targets, values, rng),
    }


def _number_difference(
    targets: Numbers,
    first: Answers,
    second: Answers,
    labels: Sequence[str],
    *,
    rng: np.random.Generator,
    confidence: float,
) -> dict[str, Any]:
    return number_difference(
        targets, first.probs[:, 0], second.probs[:, 0], rng=rng, confidence=confidence
    ).to_dict()


@dataclass(frozen=True)
class _Kind:
    """How runs of one kind of task are compared."""

    scores: Callable[..., dict[str, Any]]
    differ: Callable[..., dict[str, Any]]
    headline: Headline


_COMPARED: Mapping[str, _Kind] = {
    "single-label": _Kind(_label_scores, _label_difference, ACCURACY),
    "ordinal": _Kind(_ordinal_scores, _place_difference, ACCURACY),
    "multi-label": _Kind(_set_scores, _set_difference, MACRO_F1),
    "regression": _Kind(_number_scores, _number_difference, MEAN_ERROR),
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
    runs: Mapping[str, Any],
    pairs: Sequence[Mapping[str, Any]],
    num_examples: int,
    headline: Headline,
) -> str:
    """Say which run is the best, or that no difference is shown."""
    examples = tested(num_examples)
    best = headline.best({name: run["scores"] for name, run in runs.items()})
    of_best = [pair for pair in pairs if best in (pair["first"], pair["second"])]
    beaten = [pair for pair in of_best if pair["better"] == best]
    shown = ", ".join(
        f"{name} {headline.form(each['scores'][headline.key])}" for name, each in runs.items()
    )

    def lead(pair: Mapping[str, Any], of: str) -> str:
        """Return "+2.1 points (0.4 to 3.8) over B" by which one of a pair is ahead."""
        value, low, high = headline.improvement(pair)
        if of == pair["first"]:
            return headline.over(value, low, high, str(pair["second"]))
        return headline.over(-value, -high, -low, str(pair["first"]))

    if len(beaten) == len(of_best):
        others = "the other" if len(of_best) == 1 else "every other"
        return (
            f"{best} is better than {others} on the same {examples}: "
            + "; ".join(lead(pair, best) for pair in beaten)
            + f". {headline.title}: {shown}."
        )
    sentences = [f"No best run is shown on the same {examples}. {headline.title}: {shown}."]
    sentences += [
        f"{pair['better']} is better than "
        f"{pair['second'] if pair['better'] == pair['first'] else pair['first']}: "
        f"{lead(pair, str(pair['better']))}."
        for pair in pairs
        if pair["better"] is not None
    ]
    sentences += [
        f"Between {pair['first']} and {pair['second']} the difference may be chance "
        f"({lead(pair, str(pair['first']))})."
        for pair in pairs
        if pair["better"] is None
    ]
    return " ".join(sentences)
