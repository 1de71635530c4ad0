"""The kinds of tasks: what is measured of each, and told of it, in one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lasttoken.data.labels import LabelSpec
from lasttoken.data.written import LabelKind, to_number
from lasttoken.evaluation.baseline import (
    BaselineResult,
    Scores,
    majority_baseline,
    tfidf_baseline,
)
from lasttoken.evaluation.caveats import caveats, number_caveats, set_caveats
from lasttoken.evaluation.decisions import Decisions
from lasttoken.evaluation.evaluate import evaluation_dict
from lasttoken.evaluation.failures import Failures, confident_errors
from lasttoken.evaluation.headline import ACCURACY, MACRO_F1, MEAN_ERROR, Headline
from lasttoken.evaluation.metrics import LabelIds
from lasttoken.evaluation.multi_label.baselines import commonest_set_baseline, set_tfidf_baseline
from lasttoken.evaluation.multi_label.failures import set_failures
from lasttoken.evaluation.multi_label.measure import set_evaluation_dict
from lasttoken.evaluation.multi_label.metrics import Sets
from lasttoken.evaluation.ordinal import ordinal_evaluation_dict
from lasttoken.evaluation.regression.baselines import mean_baseline, ridge_baseline
from lasttoken.evaluation.regression.measure import number_evaluation_dict, number_failures
from lasttoken.evaluation.regression.metrics import Numbers
from lasttoken.evaluation.scored import ScoredExamples
from lasttoken.evaluation.thresholds import thresholds_array
from lasttoken.evaluation.verdict import ordinal_verdict, verdict
from lasttoken.events import EventCallback


@dataclass(frozen=True)
class LabeledTexts:
    """N texts and their targets, as `Kind.targets` gives them."""

    texts: Sequence[str]
    targets: NDArray[Any]


@dataclass(frozen=True)
class LabeledSplits:
    """What baselines learn from, and what they are scored on."""

    train: LabeledTexts
    validation: LabeledTexts
    test: LabeledTexts


@dataclass(frozen=True)
class Kind:
    """How the answers of one kind of task are measured and told.

    Attributes:
        targets: labels as in `Example.label` to the truth that is scored against.
        baselines: texts, labels, seed and `on_event` to the baselines, the better one first.
        measure: see `evaluate.evaluation_dict`.
        failures: scored examples, labels and decisions to the worst answers.
        verdict: `metrics.json` to a sentence or two.
        caveats: `metrics.json` to what to know before the scores are relied on.
        headline: the score by which models are told apart.
        has_precision: whether a wished precision has a meaning.
        has_log_odds: whether integrated gradients, which explain log odds of one label among
            others, have.
        has_label_check: whether labels can be looked through for wrong ones.
    """

    targets: Callable[[LabelSpec, Sequence[str]], NDArray[Any]]
    baselines: Callable[
        [LabeledSplits, Sequence[str], int, EventCallback], tuple[BaselineResult[Scores], ...]
    ]
    measure: Callable[..., dict[str, Any]]
    failures: Callable[[ScoredExamples, Sequence[str], Decisions], Failures]
    verdict: Callable[[Mapping[str, Any]], str]
    caveats: Callable[[Mapping[str, Any]], list[str]]
    headline: Headline
    has_precision: bool = True
    has_log_odds: bool = True
    has_label_check: bool = True


def _ids(labels: LabelSpec, texts: Sequence[str]) -> LabelIds:
    return np.asarray(labels.encode(texts).numpy())


def _sets(labels: LabelSpec, texts: Sequence[str]) -> Sets:
    return np.asarray(labels.encode(texts).numpy() > 0)


def _numbers(labels: LabelSpec, texts: Sequence[str]) -> Numbers:
    labels.encode(texts)  # tells what is no number
    return np.array([to_number(text) for text in texts], dtype=np.float64)


def _id_baselines(
    splits: LabeledSplits, labels: Sequence[str], seed: int, on_event: EventCallback
) -> tuple[BaselineResult[Scores], ...]:
    train, test = splits.train, splits.test
    return (
        tfidf_baseline(
            train.texts, train.targets, test.texts, test.targets, labels,
            seed=seed, on_event=on_event,
        ),
        majority_baseline(train.targets, test.targets, labels),
    )  # fmt: skip


def _set_baselines(
    splits: LabeledSplits, labels: Sequence[str], seed: int, on_event: EventCallback
) -> tuple[BaselineResult[Scores], ...]:
    train, validation, test = splits.train, splits.validation, splits.test
    return (
        set_tfidf_baseline(
            (train.texts, train.targets), (validation.texts, validation.targets),
            (test.texts, test.targets), labels, seed=seed, on_event=on_event,
        ),
        commonest_set_baseline(train.targets, test.targets, labels),
    )  # fmt: skip


def _number_baselines(
    splits: LabeledSplits,
    labels: Sequence[str],
    seed: int,
    on_event: EventCallback,
) -> tuple[BaselineResult[Scores], ...]:
    train, test = splits.train, splits.test
    return (
        ridge_baseline(
            (train.texts, train.targets), (test.texts, test.targets), seed=seed, on_event=on_event
        ),
        mean_baseline(train.targets, test.targets),
    )


def _id_failures(test: ScoredExamples, labels: Sequence[str], decisions: Decisions) -> Failures:
    return confident_errors(test.examples, test.targets, test.probs, labels)


def _set_failures(test: ScoredExamples, labels: Sequence[str], decisions: Decisions) -> Failures:
    thresholds = thresholds_array(decisions.thresholds, labels)
    return set_failures(test.examples, test.targets, test.probs, thresholds, labels)


def _number_failures(test: ScoredExamples, labels: Sequence[str], decisions: Decisions) -> Failures:
    return number_failures(test.examples, test.targets, test.probs[:, 0])


def _verdict_on(headline: Headline) -> Callable[[Mapping[str, Any]], str]:
    return lambda metrics: verdict(metrics, headline)


KINDS: Mapping[LabelKind, Kind] = {
    "single_label": Kind(
        targets=_ids,
        baselines=_id_baselines,
        measure=evaluation_dict,
        failures=_id_failures,
        verdict=_verdict_on(ACCURACY),
        caveats=caveats,
        headline=ACCURACY,
    ),
    "ordinal": Kind(
        targets=_ids,
        baselines=_id_baselines,
        measure=ordinal_evaluation_dict,
        failures=_id_failures,
        verdict=ordinal_verdict,
        caveats=caveats,
        headline=ACCURACY,
    ),
    "multi_label": Kind(
        targets=_sets,
        baselines=_set_baselines,
        measure=set_evaluation_dict,
        failures=_set_failures,
        verdict=_verdict_on(MACRO_F1),
        caveats=set_caveats,
        headline=MACRO_F1,
        has_log_odds=False,
        has_label_check=False,
    ),
    "regression": Kind(
        targets=_numbers,
        baselines=_number_baselines,
        measure=number_evaluation_dict,
        failures=_number_failures,
        verdict=_verdict_on(MEAN_ERROR),
        caveats=number_caveats,
        headline=MEAN_ERROR,
        has_precision=False,
        has_log_odds=False,
        has_label_check=False,
    ),
}
