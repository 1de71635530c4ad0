"""The verdict's sentences, whoever wins."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lasttoken.data.examples import Example
from lasttoken.evaluation.baseline import MAJORITY, TFIDF, BaselineResult
from lasttoken.evaluation.caveats import caveats
from lasttoken.evaluation.decisions import Decisions
from lasttoken.evaluation.evaluate import evaluation_dict
from lasttoken.evaluation.headline import ACCURACY
from lasttoken.evaluation.metrics import classification_metrics
from lasttoken.evaluation.scored import ScoredExamples
from lasttoken.evaluation.verdict import verdict as verdict_on

Pairs = tuple[tuple[int, int], ...]


def ids_of(matrix: Pairs) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return true and predicted ids of a confusion matrix of two labels."""
    pairs = [
        (true, predicted)
        for true, row in enumerate(matrix)
        for predicted, count in enumerate(row)
        for _ in range(count)
    ]
    true, predicted = np.array(pairs).T
    return true, predicted


def verdict(metrics: dict[str, Any]) -> str:
    return verdict_on(metrics, ACCURACY)


def answers(matrix: Pairs, *baselines: tuple[str, Pairs | str]) -> dict[str, Any]:
    """Return the metrics of a model and of baselines; those without a matrix have a reason."""
    labels = ("no", "yes")
    true, predicted = ids_of(matrix)
    made = []
    for name, found in baselines:
        if isinstance(found, str):
            made.append(BaselineResult(name, None, {}, 1.0, found))
            continue
        same, other = ids_of(found)
        assert (same == true).all()
        metrics = classification_metrics(true, np.eye(2)[other], labels)
        made.append(BaselineResult(name, metrics, {}, 1.0, answers=other))
    logits = 9 * np.eye(2, dtype=np.float32)[predicted]
    examples = [Example("text", labels[i]) for i in true]
    lengths = np.full(len(true), 3)
    scored = ScoredExamples(examples, true, logits, np.eye(2)[predicted], lengths, lengths > 9)
    return evaluation_dict(
        scored, labels=labels, decisions=Decisions(), validation=None, baselines=made, seed=1
    )


def test_a_model_above_both_baselines_is_told_with_its_points_and_intervals() -> None:
    text = verdict(
        answers(
            ((450, 50), (50, 450)),
            (TFIDF, ((400, 100), (100, 400))),
            (MAJORITY, ((500, 0), (500, 0))),
        )
    )
    assert text == (
        "Accuracy 0.900 (900 of 1,000 test examples right; 95 % interval 0.880 to 0.917): 10.0 "
        "points (8.1 to 11.9) above TF-IDF + logistic regression (0.800) and 40.0 points (36.3 to "
        "43.5) above always answering the commonest label (0.500)."
    )


def test_a_baseline_that_wins_is_said_to_win() -> None:
    text = verdict(answers(((400, 100), (100, 400)), (TFIDF, ((450, 50), (50, 450)))))
    assert text == (
        "The TF-IDF baseline wins: 0.900 against 0.800 (800 of 1,000 test examples right; 95 % "
        "interval 0.774 to 0.824). Use it instead, or train with more examples, more epochs or a "
        "larger model."
    )


def test_a_model_below_the_majority_has_learned_nothing() -> None:
    text = verdict(answers(((0, 60), (40, 0)), (MAJORITY, ((60, 0), (40, 0)))))
    assert text.startswith("The majority baseline wins: 0.600 against 0.000 (0 of 100 test ")
    assert text.endswith(
        "The model has learned nothing of use yet: check the labels, or train with more examples, "
        "more epochs or another learning rate."
    )


def test_a_tie_is_called_a_tie_and_no_matter_of_chance() -> None:
    same = ((8, 2), (1, 9))
    assert verdict(answers(same, (TFIDF, same))) == (
        "A tie with the TF-IDF baseline: both 0.850 (17 of 20 test examples right; 95 % interval "
        "0.640 to 0.948)."
    )


def test_a_model_that_does_not_beat_the_majority_either_is_told_so() -> None:
    always = ((10, 0), (5, 0))
    told = "Nor is the model better than always answering the commonest label (0.667)."
    tie = verdict(answers(always, (TFIDF, always), (MAJORITY, always)))
    assert tie.startswith("A tie with the TF-IDF baseline: both 0.667 (10 of 15")
    assert tie.endswith(told)
    beaten = verdict(answers(((7, 3), (3, 2)), (TFIDF, ((10, 0), (0, 5))), (MAJORITY, always)))
    assert beaten.startswith("The TF-IDF baseline wins: 1.000 against 0.600")
    assert beaten.endswith(f"or a larger model. {told}")
    better = verdict(answers(((9, 1), (1, 4)), (TFIDF, ((10, 0), (0, 5))), (MAJORITY, always)))
    assert "Nor is" not in better


def test_macro_f1_is_named_when_it_contradicts_accuracy() -> None:
    # 90 "no" and 10 "yes": the model finds 8 of the rare label, the baseline none.
    text = verdict(answers(((75, 15), (2, 8)), (MAJORITY, ((90, 0), (10, 0)))))
    assert text.startswith("The majority baseline is ahead: 0.900 against 0.830")
    assert text.endswith(
        "Macro F1, which counts rare labels as much as common ones, says the opposite: 0.692 for "
        "the model, 0.474 for the majority baseline. A difference this small may be chance: of two "
        "equals, one would lead by as much with probability 0.21."
    )


def test_a_small_lead_on_few_examples_may_be_chance() -> None:
    text = verdict(answers(((9, 1), (1, 9)), (TFIDF, ((9, 1), (2, 8)))))
    assert text == (
        "Accuracy 0.900 (18 of 20 test examples right; 95 % interval 0.699 to 0.972): 5.0 points "
        "(-10.8 to 19.9) above TF-IDF + logistic regression (0.850). A difference this small may "
        "be chance: of two equals, one would lead by as much with probability 1.00."
    )


def test_the_same_small_lead_may_be_no_chance_where_answers_are_paired() -> None:
    # 12 of 1,000 more, and never one less: two separate samples could not tell it.
    text = verdict(answers(((480, 20), (20, 480)), (TFIDF, ((474, 26), (26, 474)))))
    assert "chance" not in text


def test_a_baseline_that_could_not_be_made_is_named_with_its_reason() -> None:
    text = verdict(answers(((1, 0), (0, 0)), (TFIDF, "no training text holds a word")))
    assert text == (
        "Accuracy 1.000 (1 of 1 test example right; 95 % interval 0.207 to 1.000). "
        "TF-IDF + logistic regression has no score: no training text holds a word."
    )


def test_without_baselines_accuracy_stands_alone() -> None:
    assert verdict(answers(((1, 1), (0, 2)))) == (
        "Accuracy 0.750 (3 of 4 test examples right; 95 % interval 0.301 to 0.954)."
    )


def test_few_test_examples_and_a_worse_label_are_caveats() -> None:
    assert caveats(answers(((60, 0), (15, 15)))) == [
        "only 90 test examples: the true accuracy may lie anywhere from 0.743 to 0.896",
        "worse than elsewhere where label is yes: accuracy 0.500 of 30 examples, 1.000 of the "
        "others",
    ]
    assert caveats(answers(((150, 10), (10, 150)))) == []


def test_of_many_worse_groups_the_five_worst_are_told_and_the_others_counted() -> None:
    metrics = answers(((150, 10), (10, 150)))
    metrics["slices"] = [
        {"by": "column n", "value": str(n), "accuracy": n / 10, "num_examples": 9,
         "others_accuracy": 0.9, "is_worse": n < 8}
        for n in reversed(range(10))
    ]  # fmt: skip
    found = caveats(metrics)
    assert len(found) == 6
    assert found[0].startswith("worse than elsewhere where column n is 0: accuracy 0.000")
    assert found[-1] == "3 more groups are worse than elsewhere"
