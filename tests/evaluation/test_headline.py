"""The verdict on label sets, numbers and ordinal labels, whoever wins; and their caveats."""

from __future__ import annotations

from typing import Any

import pytest
from answered import failed_baseline, ordinal_numbers, set_numbers, value_numbers

from lasttoken.evaluation.caveats import number_caveats, set_caveats
from lasttoken.evaluation.headline import MACRO_F1, MEAN_ERROR, Headline
from lasttoken.evaluation.verdict import verdict


def metrics_of(
    headline: Headline, own: float, rivals: dict[str, tuple[float, float, float]], **test: Any
) -> dict[str, Any]:
    """Return metrics of a model, and of baselines by score and interval of the difference."""
    return {
        "test": {
            headline.key: own,
            headline.second: own,
            "num_examples": 1_000,
            "num_exact": 400,
            "r2": 0.5,
            "intervals": {headline.key: [own - 0.02, own + 0.02]},
            **test,
        },
        "baselines": {
            name: {
                headline.key: score,
                headline.second: score,
                "difference": {
                    headline.key: own - score,
                    f"{headline.key}_interval": [low, high],
                    headline.second: own - score,
                },
            }
            for name, (score, low, high) in rivals.items()
        },
    }


def test_a_model_above_its_baselines_is_told_with_its_points_and_intervals() -> None:
    rivals = {
        "tfidf_logistic_regression": (0.4, 0.08, 0.12),
        "commonest_set": (0.02, 0.45, 0.51),
    }
    assert verdict(metrics_of(MACRO_F1, 0.5, rivals), MACRO_F1) == (
        "Macro F1 0.500 (1,000 test examples, all labels right in 400; 95 % interval 0.480 to "
        "0.520): 10.0 points (8.0 to 12.0) above TF-IDF + logistic regression (0.400) and 48.0 "
        "points (45.0 to 51.0) above always answering the commonest label set (0.020)."
    )


def test_a_smaller_error_is_the_better_one() -> None:
    rivals = {"tfidf_ridge": (0.75, -0.3, -0.2), "mean": (1.0, -0.6, -0.4)}
    assert verdict(metrics_of(MEAN_ERROR, 0.5, rivals), MEAN_ERROR) == (
        "Mean absolute error 0.5 (1,000 test examples, R² 0.500; 95 % interval 0.48 to 0.52): "
        "0.25 (0.2 to 0.3) below TF-IDF + ridge regression (0.75) and 0.5 (0.4 to 0.6) below "
        "always answering the mean (1)."
    )


@pytest.mark.parametrize(
    ("headline", "rival", "ends", "name"),
    [
        (MACRO_F1, 0.6, (-0.12, -0.08), "tfidf_logistic_regression"),
        (MEAN_ERROR, 0.4, (0.08, 0.12), "tfidf_ridge"),
    ],
)
def test_a_baseline_that_wins_is_said_to_win(
    headline: Headline, rival: float, ends: tuple[float, float], name: str
) -> None:
    text = verdict(metrics_of(headline, 0.5, {name: (rival, *ends)}), headline)
    assert text.startswith(f"The TF-IDF baseline wins: {headline.spoken} {headline.form(rival)} ag")
    assert text.endswith(
        "Use it instead, or train with more examples, more epochs or a larger model."
    )


def test_a_lead_whose_interval_holds_zero_may_be_chance_and_a_tie_is_a_tie() -> None:
    lead = metrics_of(MACRO_F1, 0.5, {"commonest_set": (0.51, -0.03, 0.01)})
    assert verdict(lead, MACRO_F1).endswith(
        "A difference this small may be chance: its 95 % interval holds zero."
    )
    assert "is ahead: macro F1 0.510 against 0.500" in verdict(lead, MACRO_F1)
    tie = metrics_of(MEAN_ERROR, 0.5, {"mean": (0.5, -0.1, 0.1)})
    assert verdict(tie, MEAN_ERROR) == (
        "A tie with the mean baseline: both mean absolute error 0.5 (1,000 test examples, R² "
        "0.500; 95 % interval 0.48 to 0.52)."
    )


def test_a_second_score_that_says_the_opposite_is_told() -> None:
    metrics = metrics_of(MEAN_ERROR, 0.5, {"mean": (0.6, -0.12, -0.08)}, rmse=0.9)
    metrics["baselines"]["mean"] |= {"rmse": 0.8}
    metrics["baselines"]["mean"]["difference"]["rmse"] = 0.1
    assert verdict(metrics, MEAN_ERROR).endswith(
        "RMSE, which counts large errors more, says the opposite: 0.9 for the model, 0.8 for the "
        "mean baseline."
    )


def test_without_a_baseline_the_score_stands_alone_and_the_reason_is_told() -> None:
    metrics = set_numbers(baselines=[failed_baseline()])
    assert metrics["verdict"].startswith(f"Macro F1 {metrics['test']['macro_f1']:.3f} (80 test ex")
    assert metrics["verdict"].endswith(
        "TF-IDF + logistic regression has no score: no training text holds a word."
    )


def test_the_verdict_on_ordinal_labels_tells_how_far_off_they_are() -> None:
    metrics = ordinal_numbers()
    assert f"On average it is {metrics['test']['mae']:.2f} places off (" in metrics["verdict"]
    assert metrics["verdict"].endswith("of the answers are at most one place off.")


def test_few_examples_absent_labels_and_worse_slices_are_caveats() -> None:
    told = set_caveats(set_numbers())
    assert told[0].startswith("only 80 test examples: the true macro F1 may lie anywhere from 0.")
    assert "no test example of: love; macro averages count 0 for these" in told
    metrics = value_numbers(count=400)
    metrics["slices"] = [
        {"by": "length", "value": f"{mae} tokens", "num_examples": 9, "mae": mae,
         "others_mae": 0.5, "is_worse": True}
        for mae in (1.0, 3.0, 2.0)
    ]  # fmt: skip
    assert [line.split(":")[0] for line in number_caveats(metrics)] == [
        f"worse than elsewhere where length is {mae} tokens" for mae in (3.0, 2.0, 1.0)
    ]


def test_a_label_without_fitted_threshold_is_told() -> None:
    metrics = set_numbers()
    metrics["thresholds"]["joy"]["best_f1"] = None
    assert (
        "no threshold was fitted for: joy; they are given from a probability of 0.5 on"
    ) in set_caveats(metrics)
