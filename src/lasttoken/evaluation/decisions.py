"""Decisions: what is fitted on validation examples, and kept with the model, to act on scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lasttoken.errors import BackboneError
from lasttoken.evaluation.abstaining import Level, coverage_levels
from lasttoken.evaluation.calibration import fit_temperature
from lasttoken.evaluation.metrics import LabelIds, as_sets
from lasttoken.evaluation.multi_label.calibration import fit_set_temperature
from lasttoken.evaluation.thresholds import choose_thresholds


@dataclass(frozen=True)
class Decisions:
    """How logits become probabilities, and probabilities decisions.

    Attributes:
        temperature: by which logits were divided; the saved head contains it.
        coverage_levels: thresholds of confidence, for abstaining.
        thresholds: label to the probability of its largest F1; None without an example of it.
    """

    temperature: float = 1.0
    coverage_levels: tuple[Level, ...] = ()
    thresholds: Mapping[str, float | None] = field(default_factory=dict)

    @classmethod
    def from_record(
        cls,
        temperature: float,
        levels: Sequence[Mapping[str, float]],
        thresholds: Mapping[str, float | None],
    ) -> Decisions:
        """Read the form of `lasttoken.json`.

        Raises:
            BackboneError: it is another.
        """
        try:
            found = tuple(
                Level(
                    threshold=float(level["threshold"]),
                    num_answered=int(level["num_answered"]),
                    num_right=int(level["num_right"]),
                    coverage=float(level["coverage"]),
                    promised=float(level["promised"]),
                )
                for level in levels
            )
            chosen = {k: None if v is None else float(v) for k, v in thresholds.items()}
            return cls(float(temperature), found, chosen)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise BackboneError(
                f"lasttoken.json: coverage_levels or thresholds: {error}",
                expected="what lasttoken train wrote",
                remedy="restore the file, or train again",
            ) from error


def fit_decisions(
    logits: NDArray[np.float32], label_ids: LabelIds, labels: Sequence[str]
) -> Decisions:
    """Fit temperature, levels and thresholds.

    Args:
        logits: (N, C) of validation examples, as training left them.
        label_ids: (N,), their true labels.
        labels: C labels.
    """
    from scipy.special import softmax

    temperature = fit_temperature(logits, label_ids)
    probs = softmax(logits.astype(np.float64) / temperature, axis=1)
    right = probs.argmax(axis=1) == label_ids
    return Decisions(
        temperature,
        coverage_levels(probs.max(axis=1), right),
        choose_thresholds(as_sets(label_ids, len(labels)), probs, labels),
    )


def fit_set_decisions(
    logits: NDArray[np.float32], targets: NDArray[np.bool_], labels: Sequence[str]
) -> Decisions:
    """Fit temperature and thresholds where examples have any number of labels.

    Args:
        logits: (N, C) of validation examples, as training left them.
        targets: (N, C), which labels they have.
        labels: C labels.
    """
    from scipy.special import expit

    temperature = fit_set_temperature(logits, targets)
    probs = expit(logits.astype(np.float64) / temperature)
    return Decisions(temperature, thresholds=choose_thresholds(targets, probs, labels))
