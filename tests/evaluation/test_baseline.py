"""The baselines: right on what they can know, and never the end of a run."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from lasttoken.evaluation import baseline, word_models
from lasttoken.evaluation.baseline import BaselineResult, majority_baseline, tfidf_baseline
from lasttoken.events import Event, Note, Progress

GOOD = ["a fine film", "a very fine film", "fine acting", "truly fine", "so fine a story"]
BAD = ["a poor film", "a very poor film", "poor acting", "truly poor", "so poor a story"]


@pytest.fixture(autouse=True)
def _every_warning_is_an_error() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def tfidf(
    train: Sequence[str],
    ids: Sequence[int],
    test: Sequence[str],
    labels: Sequence[str],
    **more: Any,
) -> BaselineResult:
    """Return the baseline of a few texts, all test labels being the first."""
    zeros = np.zeros(len(test), dtype=np.int64)
    train_ids = np.array(ids, dtype=np.int64)
    return tfidf_baseline(train, train_ids, test, zeros, labels, **{"seed": 1, **more})


def test_the_majority_answers_the_commonest_training_label_with_the_training_shares() -> None:
    result = majority_baseline(np.array([0, 1, 1, 1]), np.array([0, 1]), ("ham", "spam"))
    assert result.name == "majority"
    assert result.settings == {"label": "spam"}
    assert result.reason is None
    assert result.metrics is not None
    assert result.metrics.confusion_matrix == ((0, 1), (0, 1))
    assert result.metrics.log_loss == pytest.approx(-(math.log(0.25) + math.log(0.75)) / 2)


def test_words_that_tell_the_label_are_learned() -> None:
    ids = [0] * 5 + [1] * 5
    result = tfidf(GOOD + BAD, ids, ["a fine tale", "fine"], ("good", "bad"))
    assert result.name == "tfidf_logistic_regression"
    assert result.metrics is not None
    assert result.metrics.accuracy == 1.0
    assert result.settings["folds"] == 5
    assert result.settings["C"] in result.settings["C_values"]  # type: ignore[operator]
    # 9 words: a fine film very acting truly so story poor; pairs: 2 x (a x, x film, very x,
    # x acting, truly x, so x, x a) + "a very" + "a story" = 16
    assert result.settings["vocabulary_size"] == 9 + 16
    assert "warnings" not in result.settings
    assert json.loads(json.dumps(dict(result.settings))) == result.settings


def test_the_same_seed_gives_the_same_result() -> None:
    ids = [0] * 5 + [1] * 5
    one, two = (tfidf(GOOD + BAD, ids, ["a fine tale", "poor"], ("g", "b")) for _ in range(2))
    assert (one.metrics, one.settings) == (two.metrics, two.settings)


def test_progress_ends_with_all_fits_done() -> None:
    events: list[Event] = []
    tfidf(GOOD + BAD, [0] * 5 + [1] * 5, ["fine"], ("good", "bad"), on_event=events.append)
    assert events[0] == Progress("baseline", 1, 26, "fits")
    assert events[-1] == Progress("baseline", 26, 26, "fits")


def test_a_label_with_one_example_is_no_problem() -> None:
    result = tfidf([*GOOD, "poor"], [0] * 5 + [1], ["fine film"], ("good", "bad"))
    assert result.metrics is not None
    assert result.metrics.accuracy == 1.0
    assert result.settings["folds"] == 4  # the fold that holds the only "bad" text teaches nothing


def test_two_examples_are_fitted_without_any_search() -> None:
    result = tfidf(["fine", "poor"], [0, 1], ["fine"], ("good", "bad"))
    assert result.metrics is not None
    assert result.metrics.accuracy == 1.0
    assert (result.settings["folds"], result.settings["C"]) == (0, 3.0)


def test_a_label_without_training_example_gets_probability_zero() -> None:
    result = tfidf(GOOD + BAD, [1] * 5 + [2] * 5, ["fine"], ("unseen", "good", "bad"))
    assert result.metrics is not None
    assert result.metrics.accuracy == 0.0
    assert result.metrics.log_loss == pytest.approx(-math.log(2.220446049250313e-16))


@pytest.mark.parametrize(
    ("train", "ids", "reason"),
    [
        (["🙂", "🙁", "!?", ""], [0, 1, 0, 1], "no training text holds a word"),
        (GOOD, [0] * 5, "the training examples have one label only"),
        ([], [], "the training examples have one label only"),
    ],
)
def test_where_no_model_can_be_made_the_reason_says_why(
    train: list[str], ids: list[int], reason: str
) -> None:
    result = tfidf(train, ids, ["fine"], ("good", "bad"))
    assert result.metrics is None
    assert result.reason == reason


def test_test_texts_without_a_known_word_are_answered() -> None:
    result = tfidf(GOOD + BAD, [0] * 5 + [1] * 5, ["", "🙂", "unheard"], ("good", "bad"))
    assert result.metrics is not None
    assert result.metrics.num_examples == 3


def test_one_letter_words_count() -> None:
    texts = ["I x", "I y", "I z", "u x", "u y", "u z"]
    result = tfidf(texts, [0, 0, 0, 1, 1, 1], ["I"], ("first", "second"))
    assert result.metrics is not None
    assert result.metrics.accuracy == 1.0


def test_words_of_the_test_texts_never_enter_the_vocabulary() -> None:
    ids = [0] * 5 + [1] * 5
    few, many = (tfidf(GOOD + BAD, ids, [text], ("g", "b")) for text in ("fine", "fine new words"))
    assert few.settings == many.settings


def test_too_much_text_is_sampled_stratified_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_models, "MAX_CHARACTERS", 80)
    events: list[Event] = []
    result = tfidf(
        GOOD + BAD, [0] * 5 + [1] * 5, ["fine"], ("good", "bad"), on_event=events.append
    )  # 125 characters in all: 6 of 10 texts, 3 of each label
    assert result.settings["train_examples"] == 6
    assert events[0] == Note("TF-IDF baseline: trained on 6 of 10 texts", is_warning=True)


def test_large_data_is_searched_with_two_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_models, "LARGE", 10)
    result = tfidf(GOOD + BAD, [0] * 5 + [1] * 5, ["fine"], ("good", "bad"))
    assert result.settings["folds"] == 2


def test_a_vocabulary_beyond_the_limit_keeps_the_commonest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_models, "MAX_WEIGHTS", 6)
    result = tfidf(GOOD + BAD, [0] * 5 + [1] * 5, ["fine"], ("good", "bad"))
    assert result.settings["vocabulary_size"] == 3  # 6 weights of 2 labels: a, fine, poor
    assert result.metrics is not None
    assert result.metrics.accuracy == 1.0


def test_rare_words_of_many_texts_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_models, "RARE_WORDS_UP_TO", 3)
    result = tfidf(["a b", "c d", "e f", "g h"], [0, 0, 1, 1], ["a"], ("x", "y"))
    assert result.metrics is None
    assert result.reason == "no word stands in two training texts"


def test_a_fit_that_does_not_converge_is_recorded_not_printed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(baseline._LogisticRegression, "MAX_ITER", 1)
    result = tfidf(GOOD + BAD, [0] * 5 + [1] * 5, ["fine"], ("good", "bad"))
    assert result.metrics is not None
    assert result.settings["warnings"] == [
        "The max_iter was reached which means the coef_ did not converge"
    ]


def test_too_little_memory_ends_the_baseline_and_not_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_memory(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(word_models, "_tfidf", no_memory)
    result = tfidf(GOOD + BAD, [0] * 5 + [1] * 5, ["fine"], ("good", "bad"))
    assert result.reason == "there is too little memory"


def test_texts_without_label_ids_are_a_value_error() -> None:
    with pytest.raises(ValueError, match="every text needs one label id"):
        tfidf(GOOD, [0], ["fine"], ("good", "bad"))
