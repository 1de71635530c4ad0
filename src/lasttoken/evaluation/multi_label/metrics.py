"""Metrics of label sets: every text has any number of C labels, and is given any number of them.

    true set  {joy, love}      given set  {joy, anger}     hits {joy}, missed {love}, wrong {anger}

Pure functions of arrays. Scores are shares from 0 to 1, log loss is in nats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from lasttoken.evaluation.metrics import Probs

Sets = NDArray[np.bool_]  # (N, C): which labels each text has, or is given
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SetCells:
    """Examples of the same true set and the same given set, counted together.

    Every score but log loss, Brier score and average precision depends on these alone.

    Attributes:
        true: (M, C) bool.
        given: (M, C) bool.
        counts: (M,) int64 examples of each.
    """

    true: Sets
    given: Sets
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, true: Sets, given: Sets) -> SetCells:
        """Count examples (N, C)."""
        num_labels = true.shape[1]
        rows, counts = np.unique(np.hstack([true, given]), axis=0, return_counts=True)
        return cls(rows[:, :num_labels], rows[:, num_labels:], counts)


@dataclass(frozen=True, slots=True)
class SetLabelMetrics:
    """The scores of one label.

    Attributes:
        label: the label string.
        precision: of the examples given this label, the share that truly has it.
        recall: of the examples that truly have this label, the share given it.
        f1: harmonic mean of the two.
        support: examples that truly have this label.
        num_given: examples given it.
        threshold: probability from which on it is given.
        average_precision: area below its precision-recall curve; None where all or no examples
            have the label.
    """

    label: str
    precision: float
    recall: float
    f1: float
    support: int
    num_given: int
    threshold: float
    average_precision: float | None


@dataclass(frozen=True, slots=True)
class MultiLabelMetrics:
    """The scores of one classifier on one set of examples with label sets.

    Attributes:
        subset_accuracy: share of the examples given exactly their true set.
        hamming_loss: share of all N x C decisions that are wrong.
        micro_precision: of all labels given to all examples, the share that is true.
        micro_recall: of all true labels of all examples, the share that is given.
        micro_f1: harmonic mean of the two.
        macro_precision: mean over labels, each weighing the same.
        macro_recall: likewise.
        macro_f1: likewise; thresholds were chosen for it.
        weighted_precision: mean over labels, each weighing as much as it has examples; 0 where no
            example has any.
        weighted_recall: likewise; the same number as `micro_recall`.
        weighted_f1: likewise.
        samples_precision: mean over examples; 1 for one given no label, of which none is wrong.
        samples_recall: mean over examples; 1 for one without a label, of which none is missed.
        samples_f1: mean over examples; 1 for one without a label that is given none.
        macro_average_precision: mean over the labels that have one; None if none has.
        log_loss: mean nats of a decision: over examples and labels.
        brier: mean squared difference of probability and truth, 0 to 1, over both too.
        num_examples: N.
        num_exact: examples given exactly their true set.
        labels_per_example: true labels an example, on average.
        given_per_example: labels given to an example, on average.
        per_label: C entries in label order.
    """

    subset_accuracy: float
    hamming_loss: float
    micro_precision: float
    micro_recall: float
    micro_f1: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    weighted_precision: float
    weighted_recall: float
    weighted_f1: float
    samples_precision: float
    samples_recall: float
    samples_f1: float
    macro_average_precision: float | None
    log_loss: float
    brier: float
    num_examples: int
    num_exact: int
    labels_per_example: float
    given_per_example: float
    per_label: tuple[SetLabelMetrics, ...]

    def to_dict(self) -> dict[str, object]:
        """Return the form of `metrics.json`: `per_label` maps each label to its scores."""
        per_label = {}
        for entry in self.per_label:
            scores = asdict(entry)
            per_label[scores.pop("label")] = scores
        return {**asdict(self), "per_label": per_label}


def multi_label_metrics(
    targets: Sets, probs: Probs, thresholds: Floats, labels: Sequence[str]
) -> MultiLabelMetrics:
    """Score probabilities against true label sets.

    A label is given where its probability reaches its threshold.

    Shapes:
        targets (N, C) bool, N at least 1; probs (N, C), each from 0 to 1; thresholds (C,); labels
        has C entries.

    Raises:
        ValueError: shapes disagree, there is no example, or a probability is not finite.

    Source:
        `sklearn.metrics` (tested equal): `accuracy_score`, `hamming_loss`,
        `precision_recall_fscore_support` with `zero_division=0`, of the samples with 1;
        `average_precision_score`; `log_loss` of all decisions, clipped as there; Brier (1950).
    """
    if len(targets) == 0:
        raise ValueError("there is no example to score")
    if not targets.shape == probs.shape == (len(targets), len(labels)):
        raise ValueError(
            f"targets {targets.shape} and probs {probs.shape} do not fit {len(labels)} labels"
        )
    if not np.isfinite(probs).all():
        raise ValueError("probs must be finite: NaN or infinity found")
    given = probs >= thresholds
    cells = SetCells.of(targets, given)
    found = scores_of_set_counts(cells.counts[None], cells)
    per_label = found.per_label
    precisions = average_precisions(targets, probs)
    known = [value for value in precisions if value is not None]
    averages = {name: float(values[0]) for name, values in found.averages.items()}
    return MultiLabelMetrics(
        **averages,
        macro_average_precision=float(np.mean(known)) if known else None,
        log_loss=float(set_log_losses(targets, probs).mean()),
        brier=float(set_brier_scores(targets, probs).mean()),
        num_examples=len(targets),
        num_exact=int((targets == given).all(axis=1).sum()),
        labels_per_example=float(targets.sum(axis=1).mean()),
        given_per_example=float(given.sum(axis=1).mean()),
        per_label=tuple(
            SetLabelMetrics(
                label=label,
                precision=float(per_label["precision"][0, number]),
                recall=float(per_label["recall"][0, number]),
                f1=float(per_label["f1"][0, number]),
                support=int(targets[:, number].sum()),
                num_given=int(given[:, number].sum()),
                threshold=float(thresholds[number]),
                average_precision=precisions[number],
            )
            for number, label in enumerate(labels)
        ),
    )


@dataclass(frozen=True)
class SetScores:
    """The scores of R sets of examples at once.

    Attributes:
        averages: by the names of `MultiLabelMetrics` to (R,).
        per_label: "precision", "recall" and "f1" to (R, C).
    """

    averages: dict[str, Floats]
    per_label: dict[str, Floats]


def scores_of_set_counts(counts: NDArray[np.int64], cells: SetCells) -> SetScores:
    """Score many sets of examples at once, each given by how many of it lie in each cell.

    Args:
        counts: (R, M) examples of each cell; every row has some.
        cells: M of them.

    Source:
        As `multi_label_metrics`; one code for the scores and for their bootstrap.
    """
    both = cells.true & cells.given
    weights = counts.astype(np.float64)
    hits, true, given = (weights @ each for each in (both, cells.true, cells.given))  # (R, C)
    total = weights.sum(axis=1)  # (R,)
    per_label = {
        "precision": _ratio(hits, given),
        "recall": _ratio(hits, true),
        "f1": _ratio(2 * hits, true + given),
    }
    all_hits, all_true, all_given = hits.sum(axis=1), true.sum(axis=1), given.sum(axis=1)
    num_both, num_true, num_given = (e.sum(axis=1) for e in (both, cells.true, cells.given))
    of_samples = {  # (M,) each
        "precision": _ratio(num_both, num_given, of_none=1.0),
        "recall": _ratio(num_both, num_true, of_none=1.0),
        "f1": _ratio(2 * num_both, num_true + num_given, of_none=1.0),
    }
    wrong = (cells.true != cells.given).sum(axis=1)  # (M,)
    averages = {
        "subset_accuracy": (weights @ (wrong == 0)) / total,
        "hamming_loss": (weights @ wrong) / (total * cells.true.shape[1]),
        "micro_precision": _ratio(all_hits, all_given),
        "micro_recall": _ratio(all_hits, all_true),
        "micro_f1": _ratio(2 * all_hits, all_true + all_given),
    }
    for name, values in per_label.items():
        averages[f"macro_{name}"] = values.mean(axis=1)
        averages[f"weighted_{name}"] = _ratio((values * true).sum(axis=1), all_true)
        averages[f"samples_{name}"] = (weights @ of_samples[name]) / total
    return SetScores(averages, per_label)


def average_precisions(targets: Sets, probs: Probs) -> list[float | None]:
    """Return the area below each label's precision-recall curve, as a sum of steps.

    None for a label that all or no examples have.
    """
    from sklearn.metrics import average_precision_score

    return [
        float(average_precision_score(is_label, probs[:, number]))
        if is_label.any() and not is_label.all()
        else None
        for number, is_label in enumerate(targets.T)
    ]


def set_log_losses(targets: Sets, probs: Probs) -> Floats:
    """Return the log loss of each example (N,): mean nats over its C decisions.

    A probability of the truth below the machine epsilon of float64 counts as that: 36 nats.
    """
    of_truth = np.where(targets, probs, 1.0 - probs)
    return np.asarray(-np.log(np.clip(of_truth, np.finfo(np.float64).eps, 1.0)).mean(axis=1))


def set_brier_scores(targets: Sets, probs: Probs) -> Floats:
    """Return the Brier score of each example (N,): mean squared difference over its C labels."""
    return np.asarray(((probs - targets) ** 2).mean(axis=1))


def _ratio(part: Floats, whole: Floats, *, of_none: float = 0.0) -> Floats:
    """Divide, with a value of our own where there is nothing to divide by."""
    return np.where(whole > 0, part / np.maximum(whole, 1), of_none)
