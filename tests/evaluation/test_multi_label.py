"""Label sets: metrics are scikit-learn's, intervals hold, baselines answer what they can know."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lasttoken.evaluation.decisions import fit_set_decisions
from lasttoken.evaluation.multi_label.baselines import (
    commonest_set_baseline,
    rarest_labels,
    set_tfidf_baseline,
)
from lasttoken.evaluation.multi_label.calibration import (
    fit_set_temperature,
    set_calibration_dict,
    set_calibration_error,
    set_calibration_interval,
)
from lasttoken.evaluation.multi_label.intervals import set_difference, set_score_intervals
from lasttoken.evaluation.multi_label.metrics import (
    SetCells,
    multi_label_metrics,
    scores_of_set_counts,
)

LABELS = ("anger", "joy", "love")


@pytest.fixture(autouse=True)
def _every_warning_is_an_error() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@st.composite
def answered(draw: st.DrawFn) -> tuple[Any, Any, Any]:
    """Return true sets, probabilities and thresholds of up to 12 examples of 2 to 4 labels."""
    shape = (draw(st.integers(1, 12)), draw(st.integers(2, 4)))
    true = draw(arrays(bool, shape))
    probs = draw(arrays(float, shape, elements=st.integers(0, 8).map(lambda n: n / 8)))
    thresholds = draw(arrays(float, shape[1], elements=st.integers(0, 9).map(lambda n: n / 8)))
    return true, probs, thresholds


def drawn(seed: int, count: int, num_labels: int = 3) -> tuple[Any, Any, Any]:
    """Return logits, probabilities and true sets that those probabilities are right about."""
    rng = np.random.default_rng(seed)
    logits = (2 * rng.normal(size=(count, num_labels)) - 1).astype(np.float32)
    probs = 1 / (1 + np.exp(-logits.astype(np.float64)))
    return logits, probs, rng.random(probs.shape) < probs


@settings(max_examples=25)
@given(answered())
def test_every_score_is_scikit_learns(case: tuple[Any, Any, Any]) -> None:
    from sklearn.metrics import (
        accuracy_score,
        average_precision_score,
        hamming_loss,
        log_loss,
        precision_recall_fscore_support,
    )

    true, probs, thresholds = case
    given_sets = probs >= thresholds
    labels = [f"l{n}" for n in range(true.shape[1])]
    found = multi_label_metrics(true, probs, thresholds, labels)
    assert found.subset_accuracy == pytest.approx(accuracy_score(true, given_sets))
    assert found.num_exact == accuracy_score(true, given_sets, normalize=False)
    assert found.hamming_loss == pytest.approx(hamming_loss(true, given_sets))
    for average in ("micro", "macro", "weighted", "samples"):
        expected = precision_recall_fscore_support(
            true, given_sets, average=average, zero_division=1 if average == "samples" else 0
        )[:3]
        got = [getattr(found, f"{average}_{name}") for name in ("precision", "recall", "f1")]
        assert got == pytest.approx(expected, abs=1e-12), average
    each = precision_recall_fscore_support(true, given_sets, average=None, zero_division=0)
    for number, entry in enumerate(found.per_label):
        assert [entry.precision, entry.recall, entry.f1, entry.support] == pytest.approx(
            [values[number] for values in each], abs=1e-12
        )
        if entry.average_precision is not None:
            area = average_precision_score(true[:, number], probs[:, number])
            assert entry.average_precision == pytest.approx(area)
    pairs = np.stack([1 - probs.ravel(), probs.ravel()], axis=1)
    assert found.log_loss == pytest.approx(log_loss(true.ravel(), pairs, labels=[False, True]))
    assert found.brier == pytest.approx(((probs - true) ** 2).mean())
    assert json.loads(json.dumps(found.to_dict())) == found.to_dict()


def test_an_empty_set_that_is_answered_with_an_empty_one_is_wholly_right() -> None:
    none = np.zeros((2, 3), dtype=bool)
    found = multi_label_metrics(none, np.full((2, 3), 0.1), np.full(3, 0.5), LABELS)
    assert (found.subset_accuracy, found.samples_f1, found.hamming_loss) == (1.0, 1.0, 0.0)
    assert (found.macro_f1, found.micro_f1, found.macro_average_precision) == (0.0, 0.0, None)
    assert found.per_label[0].average_precision is None


def test_scores_by_hand() -> None:
    true = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 0], [1, 0, 1]], dtype=bool)
    probs = np.array([[0.9, 0.2, 0.6], [0.1, 0.8, 0.1], [0.1, 0.1, 0.1], [0.8, 0.7, 0.4]])
    found = multi_label_metrics(true, probs, np.array([0.5, 0.5, 0.5]), LABELS)
    # given: {anger, love}, {joy}, {}, {anger, joy}: hits 1, 1, 0, 1
    assert (found.num_exact, found.subset_accuracy, found.hamming_loss) == (2, 0.5, 4 / 12)
    assert (found.micro_precision, found.micro_recall) == (3 / 5, 3 / 5)
    assert [entry.f1 for entry in found.per_label] == [1.0, 0.5, 0.0]
    assert found.samples_f1 == (0.5 + 1 + 1 + 0.5) / 4
    assert (found.labels_per_example, found.given_per_example) == (5 / 4, 5 / 4)


@pytest.mark.parametrize(
    ("targets", "probs", "message"),
    [
        (np.zeros((0, 3), bool), np.zeros((0, 3)), "no example"),
        (np.zeros((2, 3), bool), np.zeros((2, 2)), "do not fit 3 labels"),
        (np.zeros((1, 3), bool), np.full((1, 3), np.nan), "must be finite"),
    ],
)
def test_what_cannot_be_scored_is_a_value_error(targets: Any, probs: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        multi_label_metrics(targets, probs, np.full(3, 0.5), LABELS)


@settings(max_examples=20)
@given(answered(), st.integers(0, 100))
def test_counting_cells_scores_as_examples_one_by_one(
    case: tuple[Any, Any, Any], seed: int
) -> None:
    true, probs, thresholds = case
    given_sets = probs >= thresholds
    rng = np.random.default_rng(seed)
    rows = rng.integers(len(true), size=len(true))
    cells = SetCells.of(true, given_sets)
    everywhere = SetCells(true, given_sets, np.ones(len(true), dtype=np.int64))
    again = np.bincount(rows, minlength=len(true))[None]
    one = scores_of_set_counts(again, everywhere)
    other = multi_label_metrics(
        true[rows], probs[rows], thresholds, [f"l{n}" for n in range(true.shape[1])]
    )
    for name, values in one.averages.items():
        assert values[0] == pytest.approx(getattr(other, name), abs=1e-12), name
    assert cells.counts.sum() == len(true)


def test_intervals_hold_their_scores_and_shrink_with_more_examples() -> None:
    widths = []
    for count in (200, 3_200):
        _, probs, true = drawn(3, count)
        rng = np.random.default_rng(0)
        found = set_score_intervals(true, probs, probs >= 0.5, rng=rng)
        exact = multi_label_metrics(true, probs, np.full(3, 0.5), LABELS)
        for name, ends in found.scores.items():
            assert ends is not None
            assert ends[0] < getattr(exact, name) < ends[1], name
        for entry, ends_of in zip(exact.per_label, found.per_label, strict=True):
            for name, (low, high) in ends_of.items():
                assert low < getattr(entry, name) < high
        low, high = found.scores["macro_f1"]  # type: ignore[misc]
        widths.append(high - low)
    assert widths[0] == pytest.approx(4 * widths[1], rel=0.3)


def test_intervals_of_macro_f1_hold_the_truth_about_as_often_as_they_say() -> None:
    _, probs, true = drawn(5, 200_000)
    truth = multi_label_metrics(true, probs, np.full(3, 0.5), LABELS)
    held = {"macro_f1": 0, "micro_f1": 0, "samples_f1": 0, "hamming_loss": 0}
    for start in range(0, 60 * 150, 150):
        rows = slice(start, start + 150)
        rng = np.random.default_rng(start)
        found = set_score_intervals(true[rows], probs[rows], probs[rows] >= 0.5, rng=rng)
        for name in held:
            low, high = found.scores[name]  # type: ignore[misc]
            held[name] += low <= getattr(truth, name) <= high
    # 57 of 60 on average; 51 or fewer come about once in 100 where the interval is right.
    assert min(held.values()) >= 52, held


def test_answers_that_are_all_wrong_or_all_empty_have_intervals() -> None:
    true = np.array([[True, False, False]] * 4 + [[False] * 3])
    for given_sets in (~true, np.zeros_like(true)):
        found = set_score_intervals(
            true, given_sets.astype(float), given_sets, rng=np.random.default_rng(0)
        )
        for ends in found.scores.values():
            assert ends is None or 0 <= ends[0] <= ends[1]


def test_a_difference_is_of_the_same_examples_and_turns_its_sign_with_the_order() -> None:
    _, probs, true = drawn(7, 400)
    good, bad = probs >= 0.5, np.random.default_rng(1).random(probs.shape) < 0.5
    one = set_difference(true, good, bad, rng=np.random.default_rng(0))
    other = set_difference(true, bad, good, rng=np.random.default_rng(0))
    for name, first, second in (("macro_f1", good, bad), ("subset_accuracy", good, bad)):
        scores = [
            getattr(multi_label_metrics(true, given.astype(float), np.full(3, 0.5), LABELS), name)
            for given in (first, second)
        ]
        assert getattr(one, name) == pytest.approx(scores[0] - scores[1])
        assert getattr(other, name) == pytest.approx(scores[1] - scores[0])
    assert 0 < one.macro_f1_interval[0] < one.macro_f1 < one.macro_f1_interval[1]
    assert (one.only_first_right, one.only_second_right) == (
        other.only_second_right, other.only_first_right,
    )  # fmt: skip
    same = set_difference(true, good, good, rng=np.random.default_rng(0))
    assert (same.macro_f1, same.macro_f1_interval, same.p_value) == (0.0, (0.0, 0.0), 1.0)
    assert json.loads(json.dumps(one.to_dict())) == one.to_dict()


# ---- decisions and calibration ----


def test_the_temperature_undoes_what_made_logits_too_sure() -> None:
    logits, _, true = drawn(1, 4_000)
    assert fit_set_temperature(3 * logits, true) == pytest.approx(3.0, rel=0.06)
    assert fit_set_temperature(logits[:0], true[:0]) == 1.0


def test_the_fitted_thresholds_are_the_best_of_the_fitted_probabilities() -> None:
    logits, _, true = drawn(2, 300)
    true[:, 2] = False
    found = fit_set_decisions(logits, true, LABELS)
    assert found.thresholds["love"] is None
    assert found.coverage_levels == ()
    probs = 1 / (1 + np.exp(-logits.astype(np.float64) / found.temperature))
    best = found.thresholds["joy"]
    assert best is not None

    def f1(threshold: float) -> float:
        given_joy = probs[:, 1] >= threshold
        return float(2 * (given_joy & true[:, 1]).sum() / (given_joy.sum() + true[:, 1].sum()))

    assert f1(best) == pytest.approx(max(f1(value) for value in probs[:, 1]))


def test_the_calibration_error_is_torchmetrics() -> None:
    import torch
    from torchmetrics.functional.classification import binary_calibration_error

    _, probs, true = drawn(4, 500)
    probs = probs**2  # too small
    expected = binary_calibration_error(
        torch.from_numpy(probs.ravel()), torch.from_numpy(true.ravel().astype(int)), n_bins=15
    )
    assert set_calibration_error(true, probs) == pytest.approx(float(expected), abs=1e-6)


def test_perfect_calibration_is_told_from_a_bad_one() -> None:
    _, probs, true = drawn(6, 600)
    assert set_calibration_interval(true, probs, rng=np.random.default_rng(0))[0] == 0.0
    low, high = set_calibration_interval(true, probs**3, rng=np.random.default_rng(0))
    assert 0.05 < low < set_calibration_error(true, probs**3) < high + 0.05
    found = set_calibration_dict(true, probs, rng=np.random.default_rng(0))
    assert sum(each["num_examples"] for each in found["bins"]) == probs.size
    assert json.loads(json.dumps(found)) == found


# ---- baselines ----

TEXTS = ["so happy today", "happy and in love", "love you", "so angry now", "angry angry", "well"]
SETS = np.array([[0, 1, 0], [0, 1, 1], [0, 0, 1], [1, 0, 0], [1, 0, 0], [0, 0, 0]], dtype=bool)


def test_the_commonest_set_is_answered_with_the_training_shares() -> None:
    result = commonest_set_baseline(SETS, SETS, LABELS)
    assert result.settings == {"labels": ["anger"]}
    assert result.answers is not None
    assert result.answers.tolist() == [[True, False, False]] * 6
    assert result.metrics is not None
    assert result.metrics.per_label[0].recall == 1.0
    assert result.metrics.log_loss == pytest.approx(-np.log([1 / 3, 2 / 3, 2 / 3]).mean())
    empty = commonest_set_baseline(SETS[5:], SETS, LABELS)
    assert (empty.settings, empty.answers.any()) == ({"labels": "none"}, False)  # type: ignore[union-attr]


def test_a_label_with_every_training_example_is_always_in_the_commonest_set() -> None:
    true = np.array([[True, False], [True, True], [True, False]])
    result = commonest_set_baseline(true, true, ("a", "b"))
    assert result.answers is not None
    assert result.answers.tolist() == [[True, False]] * 3


def test_words_of_each_label_are_learned_and_its_threshold_is_the_validation_examples() -> None:
    many, sets = TEXTS * 4, np.tile(SETS, (4, 1))
    result = set_tfidf_baseline((many, sets), (TEXTS, SETS), (TEXTS, SETS), LABELS, seed=1)
    assert result.name == "tfidf_logistic_regression"
    assert result.metrics is not None
    assert result.metrics.subset_accuracy == 1.0
    assert result.metrics.macro_average_precision == 1.0
    assert result.settings["C"] in result.settings["C_values"]  # type: ignore[operator]
    again = set_tfidf_baseline((many, sets), (TEXTS, SETS), (TEXTS, SETS), LABELS, seed=1)
    assert (again.metrics, again.settings) == (result.metrics, result.settings)
    assert json.loads(json.dumps(dict(result.settings))) == result.settings
    none = set_tfidf_baseline((many, sets), ([], SETS[:0]), (TEXTS, SETS), LABELS, seed=1)
    assert none.metrics is not None
    assert [entry.threshold for entry in none.metrics.per_label] == [0.5] * 3


def test_a_label_that_all_or_no_training_examples_have_is_a_constant() -> None:
    sets = SETS.copy()
    sets[:, 1], sets[:, 2] = True, False
    result = set_tfidf_baseline((TEXTS * 3, np.tile(sets, (3, 1))), (TEXTS, sets), (TEXTS, sets),
                                LABELS, seed=1)  # fmt: skip
    assert result.answers is not None
    assert result.answers[:, 1].all()
    assert not result.answers[:, 2].any()


def test_where_nothing_can_be_learned_the_reason_says_why() -> None:
    all_alike = np.ones((6, 3), dtype=bool)
    result = set_tfidf_baseline((TEXTS, all_alike), (TEXTS, SETS), (TEXTS, SETS), LABELS, seed=1)
    assert result.metrics is None
    assert result.reason == "no label is had by some training examples and not by others"
    with pytest.raises(ValueError, match="every text needs one label set"):
        set_tfidf_baseline((TEXTS, SETS[:2]), (TEXTS, SETS), (TEXTS, SETS), LABELS, seed=1)


def test_the_rarest_label_of_each_set_and_none() -> None:
    # anger 2, joy 2, love 2 of equals the first; the empty set is a part of its own
    assert rarest_labels(SETS).tolist() == [1, 1, 2, 0, 0, 3]
    assert rarest_labels(np.array([[True, True], [True, False]])).tolist() == [1, 0]
