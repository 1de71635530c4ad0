"""Temperature, calibration error, and thresholds that keep their promise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from equivalences import LABELS, TEXTS, classify, tolerance
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from lasttoken.data.labels import LabelSpec
from lasttoken.errors import BackboneError
from lasttoken.evaluation.abstaining import (
    choose_level,
    coverage_levels,
    promised_share,
    recall_levels,
)
from lasttoken.evaluation.calibration import (
    calibration_dict,
    calibration_interval,
    expected_calibration_error,
    fit_temperature,
    reliability_bins,
)
from lasttoken.evaluation.decisions import Decisions, fit_decisions
from lasttoken.evaluation.metrics import as_sets
from lasttoken.evaluation.thresholds import (
    at_threshold,
    best_f1_threshold,
    thresholds_dict,
)
from lasttoken.model.folder import load_for_training


def drawn(seed: int, num_examples: int, num_labels: int, sharper: float = 1.0):
    """Return logits whose softmax is the truth, times `sharper`, and labels drawn from it."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(num_examples, num_labels))
    probs = softmax(logits, axis=1)
    ids = (probs.cumsum(axis=1) < rng.random((num_examples, 1))).sum(axis=1)
    return (sharper * logits).astype(np.float32), ids


@pytest.mark.parametrize("sharper", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_what_made_logits_too_sharp(sharper: float) -> None:
    logits, ids = drawn(1, 20_000, 4, sharper)
    assert fit_temperature(logits, ids) == pytest.approx(sharper, rel=0.05)


def test_the_temperature_is_scikit_learns() -> None:
    """With many examples the smoothing by one of them is nothing."""
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.frozen import FrozenEstimator

    class Given(ClassifierMixin, BaseEstimator):
        def fit(self, x, y):
            self.classes_ = np.unique(y)
            return self

        def decision_function(self, x):
            return x

        def predict(self, x):
            return self.classes_[x.argmax(axis=1)]

    logits, ids = drawn(2, 5_000, 3, 2.0)
    wide = logits.astype(np.float64)
    oracle = CalibratedClassifierCV(FrozenEstimator(Given().fit(wide, ids)), method="temperature")
    oracle.fit(wide, ids)
    probs = softmax(wide / fit_temperature(logits, ids), axis=1)
    assert np.abs(oracle.predict_proba(wide) - probs).max() < 2e-3


def test_a_few_right_answers_are_no_proof_of_certainty() -> None:
    logits = 3 * np.eye(2, dtype=np.float32)[[0, 1] * 10]
    probs = softmax(logits / fit_temperature(logits, np.array([0, 1] * 10)), axis=1)
    assert 0.9 < probs.max() < 0.99
    assert fit_temperature(np.zeros((0, 2), np.float32), np.zeros(0, np.int64)) == 1.0


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 300), st.integers(2, 7))
def test_the_calibration_error_is_torchmetrics(seed: int, size: int, num_labels: int) -> None:
    from torchmetrics.functional.classification import multiclass_calibration_error

    logits, ids = drawn(seed, size, num_labels)
    probs = softmax(logits.astype(np.float64), axis=1)
    places = probs.max(axis=1) * 15
    assume(np.abs(places - np.round(places)).min() > 1e-5)  # theirs are rounded to fp32 first
    expected = multiclass_calibration_error(
        torch.from_numpy(probs), torch.from_numpy(ids), num_labels, n_bins=15, norm="l1"
    )
    assert expected_calibration_error(ids, probs) == pytest.approx(float(expected), abs=1e-6)


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(2, 200), st.integers(2, 5))
def test_brier_and_log_loss_are_scikit_learns(seed: int, size: int, num_labels: int) -> None:
    from sklearn.metrics import brier_score_loss, log_loss

    logits, ids = drawn(seed, size, num_labels)
    probs = softmax(logits.astype(np.float64), axis=1)
    found = calibration_dict(ids, probs, rng=np.random.default_rng(0))
    every = range(num_labels)
    expected = brier_score_loss(ids, probs, labels=every, scale_by_half=False)
    assert found["brier"] == pytest.approx(expected)
    assert found["log_loss"] == pytest.approx(log_loss(ids, probs, labels=every))


def test_bins_hold_every_example_once() -> None:
    logits, ids = drawn(4, 500, 3)
    bins = reliability_bins(ids, softmax(logits.astype(np.float64), axis=1))
    assert len(bins) == 15
    assert sum(each.num_examples for each in bins) == 500
    assert bins[0].accuracy is None  # three labels: no confidence is below a third
    assert all(each.low < each.confidence <= each.high for each in bins if each.num_examples)


def test_a_calibrated_model_s_interval_begins_at_zero_and_a_wrong_one_s_does_not() -> None:
    rng = np.random.default_rng(0)
    logits, ids = drawn(6, 1_000, 2)
    good = softmax(logits.astype(np.float64), axis=1)
    bad = softmax(4 * logits.astype(np.float64), axis=1)
    assert calibration_interval(ids, good, rng=rng)[0] == 0.0
    low, high = calibration_interval(ids, bad, rng=rng)
    assert 0.05 < low < expected_calibration_error(ids, bad) < high


@pytest.mark.parametrize("temperature", [0.05, 0.7, 1.0, 3.1, 20.0])
@pytest.mark.parametrize("has_bias", [False, True])
def test_no_temperature_changes_a_predicted_label(
    tiny_gpt2: Path, temperature: float, has_bias: bool
) -> None:
    loaded = load_for_training(tiny_gpt2, LabelSpec(LABELS), seed=1)
    if has_bias:  # no stock head has one, so that no family can be loaded with it
        head = loaded.classifier.hf_model.score
        head.bias = torch.nn.Parameter(torch.tensor([0.3, -0.2, 0.1]))
    before = classify(loaded, TEXTS)
    loaded.classifier.divide_logits(temperature)
    after = classify(loaded, TEXTS)
    assert len(set(before.argmax(dim=1).tolist())) > 1
    assert torch.equal(after.argmax(dim=1), before.argmax(dim=1))
    expected = before / temperature
    assert (after - expected).abs().max() <= tolerance(expected)


def test_levels_go_from_strict_to_all_and_count_ties_together() -> None:
    confidence = np.array([0.9, 0.9, 0.8, 0.7, 0.6])
    right = np.array([True, True, False, True, False])
    found = coverage_levels(confidence, right)
    assert [(each.threshold, each.num_answered, each.num_right) for each in found] == [
        (0.9, 2, 2), (0.8, 3, 2), (0.7, 4, 3), (0.6, 5, 3),
    ]  # fmt: skip
    assert [each.coverage for each in found] == [0.4, 0.6, 0.8, 1.0]
    assert coverage_levels(np.zeros(0), np.zeros(0, dtype=bool)) == ()


def test_the_promise_is_clopper_and_pearsons_bound_for_twenty_levels() -> None:
    from scipy.stats import binom

    low = promised_share(95, 100)
    # At the bound, 95 or more of 100 are right with probability 5 % / 20.
    assert binom.sf(94, 100, low) == pytest.approx(0.05 / 20)
    assert promised_share(0, 10) == 0.0


@settings(max_examples=10)
@given(st.integers(0, 10**6))
def test_the_promised_accuracy_is_kept_on_new_texts(seed: int) -> None:
    """The promise may be broken once in twenty: here by more than two points never."""
    logits, ids = drawn(seed, 1_000, 3)
    probs = softmax(logits.astype(np.float64), axis=1)
    level = choose_level(coverage_levels(probs.max(1), probs.argmax(1) == ids), 0.8)
    assert level is not None
    new_logits, new_ids = drawn(seed + 1, 20_000, 3)
    new = softmax(new_logits.astype(np.float64), axis=1)
    answered = new.max(1) >= level.threshold
    assert (new.argmax(1) == new_ids)[answered].mean() > 0.78
    assert answered.mean() == pytest.approx(level.coverage, abs=0.06)


def test_the_widest_level_that_promises_enough_is_chosen_or_none() -> None:
    confidence = np.linspace(1, 0.5, 400)
    right = confidence > 0.6
    level = choose_level(coverage_levels(confidence, right), 0.95)
    assert level is not None
    assert 0.75 < level.coverage <= 0.85
    assert choose_level(coverage_levels(confidence, right), 0.9999) is None


def test_a_rare_label_has_levels_of_its_own_recall() -> None:
    probs = np.concatenate([np.linspace(1, 0.9, 40), np.linspace(0.5, 0, 5_000)])
    is_label = np.arange(5_040) < 40
    found = recall_levels(probs, is_label)
    assert len(found) == 20
    assert [each.num_right for each in found] == list(range(2, 41, 2))
    assert recall_levels(probs, np.zeros(5_040, dtype=bool)) == ()


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=1, max_size=30))
def test_the_best_threshold_is_the_best_of_all(rows: list[tuple[int, bool]]) -> None:
    probs = np.array([value / 8 for value, _ in rows])
    is_label = np.array([label for _, label in rows])
    found = best_f1_threshold(probs, is_label)
    if not is_label.any():
        assert found is None
        return
    best = max(at_threshold(probs, is_label, t)["f1"] for t in np.unique(probs))
    assert at_threshold(probs, is_label, found)["f1"] == pytest.approx(best)


def test_a_threshold_stands_half_way_to_the_first_probability_below_it() -> None:
    is_label = np.array([True, False, True])
    assert best_f1_threshold(np.array([0.9, 0.2, 0.6]), is_label) == pytest.approx(0.4)
    assert best_f1_threshold(np.array([0.9, 0.8, 0.6]), np.ones(3, dtype=bool)) == 0.3
    below = np.nextafter(0.6, 0)  # no number lies between
    assert best_f1_threshold(np.array([0.9, below, 0.6]), is_label) == 0.6


def test_a_wished_precision_is_promised_or_said_to_be_out_of_reach() -> None:
    logits, ids = drawn(7, 3_000, 2)
    probs, is_label = softmax(2 * logits.astype(np.float64), axis=1), as_sets(ids, 2)
    found = thresholds_dict(
        (is_label[1_500:], probs[1_500:]), (is_label[:1_500], probs[:1_500]), {}, ("no", "yes"),
        precision_at_least=0.9,
    )["yes"]  # fmt: skip
    wished = found["precision_at_least"]
    assert wished["promised"] >= 0.9
    assert wished["test"]["precision_interval"][1] >= 0.9
    assert found["best_f1"] is None
    curve = found["curve"]
    assert len(curve["threshold"]) == len(curve["precision"]) == 51
    assert curve["recall"][0] == 1.0
    assert (curve["precision"][-1], curve["recall"][-1]) == (None, 0.0)


def test_decisions_go_through_their_record_and_a_damaged_one_is_refused() -> None:
    from dataclasses import asdict

    logits, ids = drawn(8, 200, 2)
    found = fit_decisions(logits, ids, ("no", "yes"))
    levels = [asdict(level) for level in found.coverage_levels]
    assert Decisions.from_record(found.temperature, levels, found.thresholds) == found
    with pytest.raises(BackboneError, match="coverage_levels or thresholds"):
        Decisions.from_record(1.0, [{"threshold": 0.5}], {})
    with pytest.raises(BackboneError, match="coverage_levels or thresholds"):
        Decisions.from_record(1.0, [{**levels[0], "threshold": "high"}], {})
