"""Numbers as labels: metrics are scikit-learn's, ranges hold what they say, baselines learn."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lasttoken.evaluation.regression.baselines import mean_baseline, ridge_baseline
from lasttoken.evaluation.regression.metrics import (
    number_difference,
    regression_intervals,
    regression_metrics,
)
from lasttoken.evaluation.regression.spread import (
    bins_list,
    points_list,
    range_reach,
    ranges_list,
)


@pytest.fixture(autouse=True)
def _every_warning_is_an_error() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def drawn(seed: int, count: int, noise: float = 1.0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    targets = 3 + 2 * rng.normal(size=count)
    return targets, targets + noise * rng.normal(size=count)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=2, max_size=30))
def test_every_score_is_scikit_learns_or_scipys(pairs: list[tuple[int, int]]) -> None:
    from scipy.stats import pearsonr, spearmanr
    from sklearn import metrics

    targets, values = (np.array(each) / 8 for each in zip(*pairs, strict=True))
    found = regression_metrics(targets, values)
    assert found.mae == pytest.approx(metrics.mean_absolute_error(targets, values))
    assert found.rmse**2 == pytest.approx(metrics.mean_squared_error(targets, values))
    assert found.median_absolute_error == pytest.approx(
        metrics.median_absolute_error(targets, values)
    )
    assert found.bias == pytest.approx(values.mean() - targets.mean(), abs=1e-12)
    if np.ptp(targets) > 0:
        assert found.r2 == pytest.approx(metrics.r2_score(targets, values))
    else:
        assert found.r2 is None
    if np.ptp(targets) > 0 and np.ptp(values) > 0:
        assert found.pearson == pytest.approx(pearsonr(targets, values).statistic)
        assert found.spearman == pytest.approx(spearmanr(targets, values).statistic)
    else:
        assert (found.pearson, found.spearman) == (None, None)
    assert json.loads(json.dumps(found.to_dict())) == found.to_dict()


@pytest.mark.parametrize(
    ("targets", "values", "message"),
    [
        (np.zeros(0), np.zeros(0), "no example"),
        (np.zeros(2), np.zeros(3), "do not fit"),
        (np.zeros(1), np.array([np.inf]), "must be finite"),
    ],
)
def test_what_cannot_be_scored_is_a_value_error(targets: Any, values: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        regression_metrics(targets, values)


def test_intervals_hold_their_scores_and_one_example_has_none() -> None:
    targets, values = drawn(1, 300)
    found = regression_intervals(targets, values, rng=np.random.default_rng(0))
    exact = regression_metrics(targets, values)
    for name, ends in found.items():
        assert ends is not None
        assert ends[0] < getattr(exact, name) < ends[1], name
    alone = regression_intervals(targets[:1], values[:1], rng=np.random.default_rng(0))
    assert set(alone.values()) == {None}
    # values far from zero lose no digits
    far = regression_intervals(targets + 1e8, values + 1e8, rng=np.random.default_rng(0))
    assert far["r2"] == pytest.approx(found["r2"], rel=1e-5)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    held = dict.fromkeys(("mae", "rmse", "pearson", "spearman", "bias"), 0)
    truth = regression_metrics(*drawn(0, 400_000))
    for seed in range(60):
        found = regression_intervals(*drawn(seed + 1, 150), rng=np.random.default_rng(seed))
        for name in held:
            low, high = found[name]  # type: ignore[misc]
            held[name] += low <= getattr(truth, name) <= high
    assert min(held.values()) >= 52, held


def test_the_nearer_of_two_is_told_and_the_sign_turns_with_the_order() -> None:
    targets, near = drawn(2, 400, 0.5)
    far = targets + 2 * np.random.default_rng(3).normal(size=400)
    one = number_difference(targets, near, far, rng=np.random.default_rng(0))
    other = number_difference(targets, far, near, rng=np.random.default_rng(0))
    expected = regression_metrics(targets, near).mae - regression_metrics(targets, far).mae
    assert one.mae == pytest.approx(expected)
    assert one.mae_interval[0] < one.mae < one.mae_interval[1] < 0
    assert other.mae == pytest.approx(-one.mae)
    assert one.rmse_interval[1] < 0
    assert one.first_nearer == other.second_nearer > one.second_nearer
    same = number_difference(targets, near, near, rng=np.random.default_rng(0))
    assert (same.mae, same.mae_interval, same.first_nearer) == (0.0, (0.0, 0.0), 0)
    assert json.loads(json.dumps(one.to_dict())) == one.to_dict()


def test_a_range_holds_the_share_of_true_values_that_it_says() -> None:
    shares = []
    for seed in range(60):
        targets, values = drawn(seed, 200)
        found = ranges_list(targets[100:], values[100:], (targets[:100], values[:100]))
        shares.append([entry["test"]["share"] for entry in found])
    # standard error 0.005 to 0.01 of the means
    assert np.mean(shares, axis=0) == pytest.approx([0.5, 0.8, 0.9, 0.95], abs=0.025)


def test_a_range_of_too_few_examples_is_unknown() -> None:
    errors = np.array([1.0, -3.0, 2.0, 0.5])
    assert range_reach(errors, 0.5) == 2.0  # ceil(5 x 0.5) = 3rd of 0.5, 1, 2, 3
    assert range_reach(errors, 0.8) == 3.0
    assert range_reach(errors, 0.9) is None
    targets, values = drawn(1, 5)
    assert ranges_list(targets, values, None) == []
    assert ranges_list(targets, values, (targets, values))[-1] == {
        "level": 0.95, "reach": None, "test": None,
    }  # fmt: skip


def test_bins_hold_every_example_once_and_their_means_average_out() -> None:
    targets, values = drawn(4, 503)
    bins = bins_list(targets, values)
    assert len(bins) == 10
    counts = np.array([each["num_examples"] for each in bins])
    assert counts.sum() == 503
    assert np.average([each["true"] for each in bins], weights=counts) == pytest.approx(
        targets.mean()
    )
    assert all(each["low"] <= each["predicted"] <= each["high"] for each in bins)
    assert all(each["true_interval"][0] < each["true"] for each in bins)


def test_equal_predictions_share_one_bin_and_one_example_has_no_interval() -> None:
    (only,) = bins_list(np.array([1.0, 3.0]), np.array([2.0, 2.0]))
    assert (only["num_examples"], only["true"], only["predicted"]) == (2, 2.0, 2.0)
    assert bins_list(np.array([1.0]), np.array([2.0]))[0]["true_interval"] is None


def test_the_plot_gets_a_thousand_points_at_most() -> None:
    targets, values = drawn(5, 1_500)
    points = points_list(targets, values, np.random.default_rng(0))
    assert len(points) == 1_000
    assert points[0] in np.stack([targets, values], axis=1).tolist()
    assert points_list(targets[:2], values[:2], np.random.default_rng(0)) == [
        [targets[0], values[0]], [targets[1], values[1]],
    ]  # fmt: skip


TEXTS = ["a fine film", "fine acting", "truly fine", "a poor film", "poor acting", "truly poor"]
VALUES = np.array([4.0, 4.2, 3.8, 1.0, 1.2, 0.8])


def test_the_mean_is_answered() -> None:
    result = mean_baseline(VALUES, np.array([2.5, 3.5]))
    assert result.settings == {"value": 2.5}
    assert result.metrics is not None
    assert (result.metrics.mae, result.metrics.pearson) == (0.5, None)


def test_words_that_tell_the_value_are_learned() -> None:
    result = ridge_baseline(
        (TEXTS * 3, np.tile(VALUES, 3)), (["fine", "poor"], np.array([4.0, 1.0])), seed=1
    )
    assert result.name == "tfidf_ridge"
    assert result.metrics is not None
    assert result.metrics.mae < 0.5
    assert result.answers is not None
    assert result.answers[0] > 3.5 > 1.5 > result.answers[1]
    assert result.settings["alpha"] in result.settings["alpha_values"]  # type: ignore[operator]
    assert json.loads(json.dumps(dict(result.settings))) == result.settings


def test_values_that_are_all_equal_teach_nothing() -> None:
    result = ridge_baseline((TEXTS, np.ones(6)), (TEXTS, VALUES), seed=1)
    assert (result.metrics, result.reason) == (None, "the training examples have one value only")
    with pytest.raises(ValueError, match="every text needs one value"):
        ridge_baseline((TEXTS, VALUES[:2]), (TEXTS, VALUES), seed=1)
