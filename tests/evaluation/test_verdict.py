"""The verdict's sentences, whoever wins."""

from __future__ import annotations

import numpy as np

from lasttoken.evaluation.baseline import MAJORITY, TFIDF, BaselineResult
from lasttoken.evaluation.metrics import ClassificationMetrics, classification_metrics
from lasttoken.evaluation.verdict import verdict


def answers(*matrix: tuple[int, int]) -> ClassificationMetrics:
    """Return the metrics of a confusion matrix of two labels."""
    pairs = [
        (true, predicted)
        for true, row in enumerate(matrix)
        for predicted, count in enumerate(row)
        for _ in range(count)
    ]
    label_ids, predicted_ids = np.array(pairs).T
    return classification_metrics(label_ids, np.eye(2)[predicted_ids], ("no", "yes"))


def made(
    name: str, metrics: ClassificationMetrics | None, reason: str | None = None
) -> BaselineResult:
    """Return a baseline with these scores."""
    return BaselineResult(name, metrics, {}, 1.0, reason)


def test_a_model_above_both_baselines_is_told_with_its_points() -> None:
    text = verdict(
        answers((450, 50), (50, 450)),
        [made(TFIDF, answers((400, 100), (100, 400))), made(MAJORITY, answers((500, 0), (500, 0)))],
    )
    assert text == (
        "Accuracy 0.900 (900 of 1,000 test examples right): 10.0 points above TF-IDF + logistic "
        "regression (0.800) and 40.0 points above always answering the commonest label (0.500)."
    )


def test_a_baseline_that_wins_is_said_to_win() -> None:
    text = verdict(
        answers((400, 100), (100, 400)),
        [made(TFIDF, answers((450, 50), (50, 450))), made(MAJORITY, answers((500, 0), (500, 0)))],
    )
    assert text == (
        "The TF-IDF baseline wins: 0.900 against 0.800 on 1,000 test examples. "
        "Use it instead, or train with more examples, more epochs or a larger model."
    )


def test_a_model_below_the_majority_has_learned_nothing() -> None:
    text = verdict(answers((0, 60), (40, 0)), [made(MAJORITY, answers((60, 0), (40, 0)))])
    assert text == (
        "The majority baseline wins: 0.600 against 0.000 on 100 test examples. The model has "
        "learned nothing of use yet: check the labels, or train with more examples, more epochs "
        "or another learning rate."
    )


def test_a_tie_is_called_a_tie_and_no_matter_of_chance() -> None:
    same = answers((8, 2), (1, 9))
    assert verdict(same, [made(TFIDF, same)]) == (
        "A tie with the TF-IDF baseline: both 0.850 (17 of 20 test examples right). "
        "Use it instead, or train with more examples, more epochs or a larger model."
    )


def test_macro_f1_is_named_when_it_contradicts_accuracy() -> None:
    # 90 "no" and 10 "yes": the model finds 8 of the rare label, the baseline none.
    text = verdict(answers((75, 15), (2, 8)), [made(MAJORITY, answers((90, 0), (10, 0)))])
    assert text == (
        "The majority baseline wins: 0.900 against 0.830 on 100 test examples. Macro F1, which "
        "counts rare labels as much as common ones, says the opposite: 0.692 for the model, "
        "0.474 for the majority baseline. With 100 test examples, a difference this small may be "
        "chance."
    )


def test_a_small_lead_on_few_examples_may_be_chance() -> None:
    text = verdict(answers((9, 1), (1, 9)), [made(TFIDF, answers((9, 1), (2, 8)))])
    assert text == (
        "Accuracy 0.900 (18 of 20 test examples right): 5.0 points above TF-IDF + logistic "
        "regression (0.850). With 20 test examples, a difference this small may be chance."
    )


def test_a_baseline_that_could_not_be_made_is_named_with_its_reason() -> None:
    text = verdict(answers((1, 0), (0, 0)), [made(TFIDF, None, "no training text holds a word")])
    assert text == (
        "Accuracy 1.000 (1 of 1 test example right). "
        "TF-IDF + logistic regression has no score: no training text holds a word."
    )


def test_without_baselines_accuracy_stands_alone() -> None:
    assert verdict(answers((1, 1), (0, 2)), []) == "Accuracy 0.750 (3 of 4 test examples right)."
