"""The metrics of small predictions, every expected number worked out by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lasttoken.evaluation.metrics import (
    ClassificationMetrics,
    LabelMetrics,
    accuracy,
    classification_metrics,
    macro_f1,
)


def six_animals() -> ClassificationMetrics:
    """Return six examples of which four are right; no example is a fish."""
    label_ids = np.array([0, 0, 0, 1, 1, 1])
    probs = np.array(
        [
            [0.8, 0.1, 0.1],
            [0.5, 0.25, 0.25],
            [0.2, 0.7, 0.1],  # a cat called a dog
            [0.1, 0.8, 0.1],
            [0.0, 0.5, 0.5],  # the first of equals: dog, right
            [0.1, 0.1, 0.8],  # a dog called a fish
        ]
    )
    return classification_metrics(label_ids, probs, ("cat", "dog", "fish"))


def test_every_number_of_six_examples_is_the_one_worked_out_by_hand() -> None:
    metrics = six_animals()
    assert metrics.num_examples == 6
    assert metrics.num_correct == 4
    assert metrics.accuracy == pytest.approx(4 / 6)
    assert metrics.confusion_matrix == ((2, 1, 0), (0, 2, 1), (0, 0, 0))
    cat, dog, fish = metrics.per_label
    assert cat.label == "cat"
    assert (cat.precision, cat.recall, cat.f1) == pytest.approx((1.0, 2 / 3, 0.8))
    assert (dog.precision, dog.recall, dog.f1) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert (cat.support, dog.support) == (3, 3)
    assert fish == LabelMetrics("fish", precision=0.0, recall=0.0, f1=0.0, support=0)
    assert metrics.macro_f1 == pytest.approx((0.8 + 2 / 3 + 0) / 3)  # fish counts, with 0
    assert metrics.weighted_f1 == pytest.approx((3 * 0.8 + 3 * 2 / 3) / 6)
    nats = [-math.log(p) for p in (0.8, 0.5, 0.2, 0.8, 0.5, 0.1)]
    assert metrics.log_loss == pytest.approx(sum(nats) / 6)


def test_the_mapping_is_the_form_of_metrics_json() -> None:
    mapping = six_animals().to_dict()
    assert list(mapping) == [
        "accuracy", "macro_precision", "macro_recall", "macro_f1", "micro_precision",
        "micro_recall", "micro_f1", "weighted_precision", "weighted_recall", "weighted_f1", "mcc",
        "log_loss", "brier", "num_examples", "per_label", "confusion_matrix",
    ]  # fmt: skip
    assert mapping["per_label"]["fish"] == {  # type: ignore[index]
        "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0,
    }  # fmt: skip
    assert json.loads(json.dumps(mapping)) == mapping


def test_one_example_is_enough() -> None:
    metrics = classification_metrics(np.array([1]), np.array([[0.25, 0.75]]), ("no", "yes"))
    assert (metrics.accuracy, metrics.macro_f1, metrics.weighted_f1) == (1.0, 0.5, 1.0)
    assert metrics.log_loss == pytest.approx(-math.log(0.75))


def test_a_certain_mistake_costs_36_nats_and_not_infinity() -> None:
    metrics = classification_metrics(np.array([0]), np.array([[0.0, 1.0]]), ("no", "yes"))
    assert metrics.log_loss == pytest.approx(-math.log(2.220446049250313e-16))


def test_log_loss_is_scikit_learns() -> None:
    from sklearn.metrics import log_loss  # type: ignore[import-untyped]

    probs = np.random.default_rng(0).dirichlet([1.0, 1.0, 1.0], size=50)
    label_ids = np.arange(50) % 3
    metrics = classification_metrics(label_ids, probs, ("a", "b", "c"))
    assert metrics.log_loss == pytest.approx(log_loss(label_ids, probs), rel=1e-12)


def test_probabilities_that_sum_to_one_only_within_fp32_rounding_are_fine() -> None:
    probs = np.full((3, 7), np.float32(1 / 7)).astype(np.float64)
    metrics = classification_metrics(np.array([0, 3, 6]), probs, tuple("abcdefg"))
    assert metrics.log_loss == pytest.approx(math.log(7), rel=1e-6)


def test_three_hundred_labels_with_two_examples_are_scored() -> None:
    probs = np.eye(300)[[5, 7]]
    metrics = classification_metrics(np.array([5, 8]), probs, [f"intent {i}" for i in range(300)])
    assert metrics.accuracy == 0.5
    assert metrics.macro_f1 == pytest.approx(1 / 300)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40))
def test_the_quick_macro_f1_is_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    from sklearn.metrics import f1_score

    true, predicted = (np.array(ids) for ids in zip(*pairs, strict=True))
    expected = f1_score(true, predicted, labels=range(5), average="macro", zero_division=0)
    assert macro_f1(true, predicted, 5) == pytest.approx(expected, abs=1e-12)


def test_the_quick_helpers_agree_with_the_full_metrics() -> None:
    true, predicted = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 0, 1, 1, 1, 2])
    assert accuracy(true, predicted) == pytest.approx(4 / 6)
    assert macro_f1(true, predicted, 3) == pytest.approx(six_animals().macro_f1)


@pytest.mark.parametrize(
    ("label_ids", "probs", "message"),
    [
        ([0, 1], [[0.5, 0.5]], r"label_ids \(2,\) and probs \(1, 2\) do not fit 2 labels"),
        ([0], [[0.2, 0.3, 0.5]], r"probs \(1, 3\) do not fit 2 labels"),
        ([2], [[0.5, 0.5]], "label ids must be 0 to 1"),
        ([-1], [[0.5, 0.5]], "label ids must be 0 to 1"),
        ([0], [[math.nan, 0.5]], "probs must be finite"),
    ],
)
def test_a_programming_mistake_is_a_value_error(
    label_ids: list[int], probs: list[list[float]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        classification_metrics(np.array(label_ids), np.array(probs), ("no", "yes"))


def test_no_example_is_a_value_error_everywhere() -> None:
    nothing = np.array([], dtype=np.int64)
    with pytest.raises(ValueError, match="no example"):
        classification_metrics(nothing, np.empty((0, 2)), ("no", "yes"))
    with pytest.raises(ValueError, match="no example"):
        accuracy(nothing, nothing)
    with pytest.raises(ValueError, match="no example"):
        macro_f1(nothing, nothing, 2)
