"""Intervals and paired comparisons: equal to scikit-learn's scores, wide where little is known."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lasttoken.evaluation.intervals import (
    drawn_counts,
    drawn_means,
    middle,
    score_intervals,
    scores_of_counts,
    wilson,
)
from lasttoken.evaluation.metrics import classification_metrics
from lasttoken.evaluation.paired import paired_difference


def random_answers(seed: int, num_examples: int, num_labels: int):
    """Return true ids, probabilities and predicted ids of a mediocre classifier."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(num_labels, size=num_examples)
    logits = rng.normal(size=(num_examples, num_labels))
    logits[np.arange(num_examples), ids] += 1
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return ids, probs, probs.argmax(axis=1)


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(2, 6))
def test_scores_of_counts_are_scikit_learns(seed: int, num_examples: int, num_labels: int) -> None:
    from sklearn.metrics import matthews_corrcoef, precision_recall_fscore_support

    ids, _, predicted = random_answers(seed, num_examples, num_labels)
    cells, counts = np.unique(ids * num_labels + predicted, return_counts=True)
    found = scores_of_counts(counts[None], *np.divmod(cells, num_labels), num_labels)
    every = range(num_labels)
    for average in ("macro", "weighted"):
        expected = precision_recall_fscore_support(
            ids, predicted, labels=every, average=average, zero_division=0
        )
        assert found[f"{average}_precision"][0] == pytest.approx(expected[0])
        assert found[f"{average}_f1"][0] == pytest.approx(expected[2])
    assert found["macro_recall"][0] == pytest.approx(
        precision_recall_fscore_support(
            ids, predicted, labels=every, average="macro", zero_division=0
        )[1]
    )
    single = len(np.union1d(ids, predicted)) == 1  # of which scikit-learn warns
    expected = 0.0 if single else matthews_corrcoef(ids, predicted)
    assert found["mcc"][0] == pytest.approx(expected, abs=1e-12)


def test_drawing_counts_is_drawing_examples() -> None:
    # The spread of a share of 30 % of 200 examples: sqrt(0.3 * 0.7 / 200) = 0.0324.
    counts = np.array([60, 140])
    drawn = np.concatenate(list(drawn_counts(counts, np.random.default_rng(1), 4_000)))
    assert drawn.shape == (4_000, 2)
    assert (drawn.sum(axis=1) == 200).all()
    assert drawn[:, 0].mean() / 200 == pytest.approx(0.3, abs=0.002)
    assert drawn[:, 0].std() / 200 == pytest.approx(0.0324, rel=0.05)
    values = np.repeat([1.0, 0.0], counts)[:, None]
    means = drawn_means(values, np.random.default_rng(1), 4_000)
    assert means.std() == pytest.approx(0.0324, rel=0.05)


def test_a_hundred_labels_and_many_examples_are_drawn_in_pieces() -> None:
    ids, probs, _ = random_answers(3, 30_000, 100)
    found = score_intervals(ids, probs, rng=np.random.default_rng(0))
    score = classification_metrics(ids, probs, [str(n) for n in range(100)])
    for name in ("macro_f1", "mcc", "log_loss", "brier", "weighted_precision"):
        low, high = found.scores[name]
        assert low < getattr(score, name) < high, name
        assert high - low < 0.05, name


def test_wilson_is_the_textbook_interval_and_knows_nothing_of_no_example() -> None:
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(10, 10)[1] == pytest.approx(1.0)
    assert wilson(10, 10)[0] == pytest.approx(0.7225, abs=1e-4)


def test_draws_without_a_score_are_left_out() -> None:
    assert middle(np.array([np.nan, 1.0, 2.0, np.nan])) == pytest.approx((1.025, 1.975))
    assert middle(np.array([np.nan, 1.0, 1.0])) is None


@pytest.mark.parametrize("num_examples", [10, 60])
def test_all_right_is_no_certainty_for_any_score(num_examples: int) -> None:
    ids = np.array([0] * (num_examples - 3) + [1] * 3)
    found = score_intervals(ids, np.eye(2)[ids] * 0.8 + 0.1, rng=np.random.default_rng(0))
    for name in ("macro_f1", "macro_recall", "weighted_precision", "mcc"):
        low, high = found.scores[name]
        assert low < 0.7 < high == 1.0, name  # as little as of 6 right answers of 6
    assert found.per_label[1]["f1"][0] == pytest.approx(wilson(3, 3)[0])


def test_one_example_and_one_label_answered_are_no_error() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = score_intervals(np.array([1]), np.array([[0.2, 0.8]]), rng=np.random.default_rng(0))
    assert found.scores["macro_f1"] == pytest.approx((0.0, 0.793), abs=1e-3)  # Wilson's of 0 of 1
    low, high = found.scores["mcc"]
    assert low < 0 < high
    assert found.scores["log_loss"] is None
    assert found.per_label[0]["precision"] == (0.0, 1.0)


def test_a_paired_difference_is_that_of_the_scores_and_mcnemars() -> None:
    from sklearn.metrics import f1_score

    ids, _, first = random_answers(5, 400, 3)
    _, _, second = random_answers(6, 400, 3)
    found = paired_difference(ids, first, second, 3, rng=np.random.default_rng(0))
    accuracy = (first == ids).mean() - (second == ids).mean()
    assert found.accuracy == pytest.approx(accuracy)
    expected = [f1_score(ids, each, average="macro") for each in (first, second)]
    assert found.macro_f1 == pytest.approx(expected[0] - expected[1])
    assert found.accuracy_interval[0] < accuracy < found.accuracy_interval[1]
    assert found.macro_f1_interval[0] < found.macro_f1 < found.macro_f1_interval[1]
    assert found.p_value < 1e-6


def test_equal_answers_differ_by_nothing_and_their_interval_holds_zero() -> None:
    ids, _, first = random_answers(5, 50, 3)
    found = paired_difference(ids, first, first, 3, rng=np.random.default_rng(0))
    assert (found.accuracy, found.macro_f1, found.p_value) == (0.0, 0.0, 1.0)
    low, high = found.accuracy_interval
    assert low < 0 < high


def test_a_paired_interval_is_the_published_example() -> None:
    # Bonett and Price's adjusted Wald interval of 12 and 2 disagreements among 100, by hand:
    # p12 = 13/102, p21 = 3/102; d = 0.09804, error = 1.96 * sqrt((0.15686 - 0.00961) / 102).
    ids = np.zeros(100, dtype=np.int64)
    first, second = ids.copy(), ids.copy()
    second[:12] = 1
    first[12:14] = 1
    found = paired_difference(ids, first, second, 2, rng=np.random.default_rng(0))
    assert found.accuracy == pytest.approx(0.1)
    assert found.accuracy_interval == pytest.approx((0.02357, 0.17251), abs=1e-4)
    assert (found.only_first_right, found.only_second_right) == (12, 2)
    assert found.p_value == pytest.approx(0.012939, abs=1e-5)
