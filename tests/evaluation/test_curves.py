"""ROC and precision-recall areas, and their intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from lasttoken.evaluation.curves import _areas, area_intervals, ranking_dict
from lasttoken.evaluation.metrics import as_sets


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=2, max_size=60))
def test_areas_of_grouped_counts_are_scikit_learns(rows: list[tuple[int, bool]]) -> None:
    score = np.array([float(value) for value, _ in rows])
    is_label = np.array([label for _, label in rows])
    if is_label.all() or not is_label.any():
        return
    positive = np.bincount(score[is_label].astype(int), minlength=10)[None].astype(float)
    negative = np.bincount(score[~is_label].astype(int), minlength=10)[None].astype(float)
    roc_auc, average = _areas(positive, negative)
    assert roc_auc[0] == pytest.approx(roc_auc_score(is_label, score))
    assert average[0] == pytest.approx(average_precision_score(is_label, score))


@pytest.mark.parametrize("size", [300, 20_000])
def test_an_area_lies_in_its_interval(size: int) -> None:
    rng = np.random.default_rng(1)
    is_label = rng.random(size) < 0.3
    score = rng.normal(size=size) + is_label
    found = area_intervals(is_label, score, rng=rng)
    for name, exact, wide in (
        ("roc_auc_interval", roc_auc_score(is_label, score), 0.014),
        ("average_precision_interval", average_precision_score(is_label, score), 0.027),
    ):
        low, high = found[name]
        assert low < exact < high, name
        assert high - low == pytest.approx(wide if size > 300 else wide * 8, rel=0.3), name


def test_perfect_order_of_few_examples_is_no_certainty() -> None:
    is_label = np.arange(20) >= 12
    found = area_intervals(is_label, np.arange(20.0), rng=np.random.default_rng(0))
    assert found["roc_auc_interval"] == pytest.approx([0.676, 1.0], abs=1e-3)  # Wilson's of 8 of 8


def test_a_label_without_examples_has_no_area_and_no_part_in_the_mean() -> None:
    ids = np.array([0, 0, 1, 1])
    probs = np.array([[0.7, 0.2, 0.1], [0.4, 0.5, 0.1], [0.3, 0.6, 0.1], [0.2, 0.7, 0.1]])
    found = ranking_dict(as_sets(ids, 3), probs, ("a", "b", "c"), rng=np.random.default_rng(0))
    assert found["per_label"]["c"] is None
    assert found["macro_roc_auc"] == pytest.approx(1.0)
    assert found["per_label"]["a"]["curves"]["roc"][0] == [0.0, 0.0]
    assert found["per_label"]["a"]["curves"]["roc"][-1] == [1.0, 1.0]


def test_one_label_alone_has_no_mean() -> None:
    found = ranking_dict(as_sets(np.array([0]), 2), np.array([[0.7, 0.3]]), ("a", "b"),
                         rng=np.random.default_rng(0))  # fmt: skip
    assert found["macro_roc_auc"] is None


def test_a_curve_of_many_examples_is_thinned_and_many_labels_are_left_out() -> None:
    rng = np.random.default_rng(2)
    ids = rng.integers(40, size=5_000)
    probs, labels = rng.dirichlet(np.ones(40), 5_000), [f"l{n}" for n in range(40)]
    found = ranking_dict(as_sets(ids, 40), probs, labels, rng=rng)
    with_curves = [entry for entry in found["per_label"].values() if "curves" in entry]
    assert len(with_curves) == 30
    assert max(len(entry["curves"]["roc"]) for entry in with_curves) <= 100
    assert "roc_auc_interval" not in with_curves[0]
