"""scikit-learn's own checks of an estimator, and its tools around ours.

The checks feed arrays of numbers. `RowsAsTexts` writes each row as a text of these numbers and is
`TextClassifier` in all else, so that every check runs and those that are about more than the form
of an array must pass. `NOT_FOR_TEXTS` names the others; a check that stands there and passes fails
the test, so that the table cannot outlive its reasons.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import (
    GridSearchCV,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
    train_test_split,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import (
    check_classifiers_multilabel_output_format_predict,
    check_classifiers_multilabel_output_format_predict_proba,
    check_estimator_cloneable,
    check_estimator_repr,
    check_estimator_tags_renamed,
    check_estimators_unfitted,
    check_get_params_invariance,
    check_mixin_order,
    check_no_attributes_set_in_init,
    check_parameters_default_constructible,
    check_set_params,
    check_valid_tag_types,
    parametrize_with_checks,
)

from families import save_decoder
from lasttoken import DatasetError, TextClassifier

TEXTS = [f"{word} {number}" for number in range(15) for word in ("good film", "bad movie")]
LABELS = ["good", "bad"] * 15
FAST = {"num_epochs": 1, "batch_size": 8, "max_length": 16, "precision": "fp32",
        "validation_fraction": 0.34}  # fmt: skip

_FEATURES = "texts have no features to count: any text is as good as any other"
_ARRAYS = "a text is a string; numbers, and what holds them, are refused or never seen"
_ONE_AXIS = "texts are one-dimensional, so there is no second axis to be missing or empty"
_OWN_WORDS = "refused as well, with a message of three lines that says label and text"
NOT_FOR_TEXTS = {
    "check_n_features_in": _FEATURES,
    "check_n_features_in_after_fitting": _FEATURES,
    "check_estimators_nan_inf": _ARRAYS,
    "check_estimator_sparse_tag": _ARRAYS,
    "check_estimator_sparse_array": _ARRAYS,
    "check_estimator_sparse_matrix": _ARRAYS,
    "check_classifier_data_not_an_array": "its container cannot be iterated, as texts are",
    "check_complex_data": "refused at the labels, which are complex too, before texts are read",
    "check_fit1d": _ONE_AXIS,
    "check_fit2d_predict1d": _ONE_AXIS,
    "check_estimators_empty_data_messages": _ONE_AXIS,
    "check_fit2d_1sample": _OWN_WORDS,
    "check_classifiers_one_label": _OWN_WORDS,
    "check_supervised_y_2d": "a column of labels is refused, not flattened with a warning",
    "check_classifiers_train": "asks for 83 % of points learned from digits, after one epoch of a "
    "random model; test_estimator.py asks for more of texts",
}
# The task's own besides.
NOT_FOR_TASK = {
    "single-label": {},
    "ordinal": {
        "check_classifiers_classes": "the order of 'one' and 'two' must be given",
        "check_classifiers_regression_target": "1.5 is an ordered label like any other",
    },
    "regression": {
        "check_regressors_train": "asks for half of the variance learned from digits, after one "
        "epoch of a random model",
        "check_regressor_data_not_an_array": "its container cannot be iterated, as texts are",
    },
}


def as_texts(rows: Iterable[Iterable[float]]) -> list[str]:
    """Write each row of numbers as a text."""
    return [" ".join(f"{number:.1f}" for number in row) for row in np.asarray(rows)]


class RowsAsTexts(TextClassifier):
    """`TextClassifier` for the checks: a row of numbers is a text of these numbers."""

    def fit(self, X: Any, y: Any = None) -> RowsAsTexts:  # noqa: N803
        super().fit(as_texts(X), y)
        return self

    def _values(self, texts: Any) -> NDArray[np.float64]:
        return super()._values(as_texts(texts))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True  # else no check is made
        return tags


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("m") / "gpt2"
    return str(save_decoder(folder, initializer_range=0.02, n_embd=16, n_layer=1, n_head=2))


@pytest.fixture(scope="module")
def untrained(decoder: str) -> TextClassifier:
    return TextClassifier(decoder, **FAST, learning_rate=3e-3)


@pytest.fixture(scope="module")
def classifier(untrained: TextClassifier) -> TextClassifier:
    return clone(untrained).fit(TEXTS, LABELS)


@parametrize_with_checks(
    [RowsAsTexts(**FAST, task=task) for task in NOT_FOR_TASK],
    expected_failed_checks=lambda estimator: NOT_FOR_TEXTS | NOT_FOR_TASK[estimator.task],
)
def test_scikit_learns_checks_hold(
    estimator: RowsAsTexts, check: Callable[[BaseEstimator], None], decoder: str
) -> None:
    check(clone(estimator).set_params(model=decoder))


@pytest.mark.parametrize(
    "check",
    [
        check_classifiers_multilabel_output_format_predict,
        check_classifiers_multilabel_output_format_predict_proba,
    ],
    ids=lambda check: check.__name__,
)
def test_checks_of_label_sets_hold(check: Callable, decoder: str) -> None:
    estimator = RowsAsTexts(**FAST, model=decoder, task="multi-label")
    assert get_tags(estimator).classifier_tags.multi_label
    check("RowsAsTexts", estimator)


@pytest.mark.parametrize(
    "check",
    [
        check_estimator_cloneable,
        check_estimator_repr,
        check_estimator_tags_renamed,
        check_estimators_unfitted,
        check_get_params_invariance,
        check_mixin_order,
        check_no_attributes_set_in_init,
        check_parameters_default_constructible,
        check_set_params,
        check_valid_tag_types,
    ],
    ids=lambda check: check.__name__,
)
def test_checks_that_look_at_no_array_hold_for_the_classifier_itself(check: Callable) -> None:
    check("TextClassifier", TextClassifier())


def test_scikit_learn_knows_a_classifier_of_strings() -> None:
    tags = get_tags(TextClassifier())
    assert is_classifier(TextClassifier())
    assert tags.input_tags.string
    assert not tags.input_tags.two_d_array
    assert tags.target_tags.required


@pytest.mark.parametrize("labels", [[1.0, 2.0] * 15, np.array([10.0, 9.0] * 15)], ids=str)
def test_whole_numbers_that_are_floats_come_back_as_floats(
    untrained: TextClassifier, labels: Any
) -> None:
    fitted = clone(untrained).fit(TEXTS, labels)
    assert fitted.classes_.tolist() == sorted(set(labels))
    assert fitted.predict(TEXTS).dtype == np.float64
    right = (fitted.predict(TEXTS) == labels).mean()
    assert fitted.score(TEXTS, labels) == fitted.score(TEXTS, [int(label) for label in labels])
    assert fitted.score(TEXTS, labels) == right


def test_texts_have_no_number_of_features(classifier: TextClassifier) -> None:
    assert not hasattr(classifier, "n_features_in_")
    assert not hasattr(classifier, "feature_names_in_")


def test_fit_leaves_settings_and_data_alone(untrained: TextClassifier) -> None:
    fresh = clone(untrained)
    settings, texts, labels = fresh.get_params(), np.array(TEXTS), np.array(LABELS)
    fresh.fit(texts, labels)
    assert fresh.get_params() == settings
    assert texts.tolist() == TEXTS
    assert labels.tolist() == LABELS


def test_a_clone_of_a_fitted_classifier_is_not_fitted(classifier: TextClassifier) -> None:
    with pytest.raises(NotFittedError):
        clone(classifier).predict(TEXTS)
    assert clone(classifier).get_params() == classifier.get_params()


def test_fitting_again_forgets_what_was_fitted_before(untrained: TextClassifier) -> None:
    again = clone(untrained).fit(TEXTS, [7, 8, 9] * 10).fit(TEXTS, LABELS)
    once = clone(untrained).fit(TEXTS, LABELS)
    assert list(again.classes_) == ["bad", "good"]
    assert np.array_equal(again.predict_proba(TEXTS), once.predict_proba(TEXTS))


def test_what_is_saved_holds_no_pickle(classifier: TextClassifier, tmp_path: Path) -> None:
    classifier.save_pretrained(tmp_path / "saved")
    endings = {path.suffix for path in (tmp_path / "saved").rglob("*") if path.is_file()}
    assert endings <= {".json", ".safetensors", ".txt", ".md", ".jinja"}
    again = TextClassifier.from_pretrained(tmp_path / "saved", precision="fp32")
    assert np.array_equal(again.predict_proba(TEXTS), classifier.predict_proba(TEXTS))


@pytest.mark.parametrize(
    "container",
    [
        list,
        tuple,
        np.array,
        lambda values: np.array(values, dtype=object),
        lambda values: pd.Series(values, index=range(100, 100 + len(values))),
        lambda values: datasets.Dataset.from_dict({"c": values})["c"],
    ],
    ids=["list", "tuple", "array", "objects", "series", "datasets"],
)
def test_every_container_can_be_cross_validated(
    untrained: TextClassifier, container: Callable[[list[str]], Any]
) -> None:
    folds = StratifiedKFold(2)
    scores = cross_val_score(untrained, container(TEXTS), container(LABELS), cv=folds)
    assert np.array_equal(scores, cross_val_score(untrained, TEXTS, LABELS, cv=folds))
    assert len(scores) == 2


@pytest.mark.parametrize("scoring", ["accuracy", "f1_macro", "neg_log_loss", "roc_auc"])
def test_scorers_by_name_take_its_answers(untrained: TextClassifier, scoring: str) -> None:
    scores = cross_val_score(untrained, TEXTS, [0, 1] * 15, cv=2, scoring=scoring)
    assert np.isfinite(scores).all()


def test_out_of_fold_probabilities_come_in_the_order_of_the_texts(
    untrained: TextClassifier,
) -> None:
    better = clone(untrained).set_params(num_epochs=5, learning_rate=1e-2)
    probs = cross_val_predict(better, TEXTS, LABELS, cv=2, method="predict_proba")
    assert probs.shape == (30, 2)
    assert (np.array(["bad", "good"])[probs.argmax(axis=1)] == LABELS).mean() > 0.9


def test_score_is_the_share_of_right_answers(classifier: TextClassifier) -> None:
    assert classifier.score(TEXTS, LABELS) == (classifier.predict(TEXTS) == LABELS).mean()


def test_a_label_that_training_never_saw_is_an_error_in_the_score(
    classifier: TextClassifier,
) -> None:
    labels = [*classifier.predict(TEXTS[:20]), *["other"] * 10]
    assert classifier.score(TEXTS, labels) == pytest.approx(2 / 3)


def test_it_stands_at_the_end_of_a_pipeline(untrained: TextClassifier) -> None:
    lower = FunctionTransformer(lambda texts: [text.lower() for text in texts])
    pipeline = Pipeline([("lower", lower), ("classify", clone(untrained))])
    shouted = [text.upper() for text in TEXTS]
    alone = clone(untrained).fit(TEXTS, LABELS)
    assert np.array_equal(
        pipeline.fit(shouted, LABELS).predict_proba(shouted), alone.predict_proba(TEXTS)
    )
    assert list(pipeline.classes_) == ["bad", "good"]
    pipeline.set_params(classify__num_epochs=2)
    assert pipeline.get_params()["classify__num_epochs"] == 2


def test_a_grid_search_finds_the_setting_that_learns(untrained: TextClassifier) -> None:
    grid = {"learning_rate": [1e-9, 1e-2], "num_epochs": [5]}
    search = GridSearchCV(untrained, grid, cv=2, scoring="neg_log_loss").fit(TEXTS, LABELS)
    assert search.best_params_["learning_rate"] == 1e-2
    assert search.best_estimator_.learning_rate == 1e-2
    assert search.best_estimator_.score(TEXTS, LABELS) > 0.9


def test_scikit_learns_own_calibration_wraps_it(untrained: TextClassifier) -> None:
    wrapped = CalibratedClassifierCV(untrained, cv=2).fit(TEXTS, LABELS)
    assert np.allclose(wrapped.predict_proba(TEXTS[:3]).sum(axis=1), 1)


def test_a_split_of_a_frames_columns_goes_in_as_it_is(untrained: TextClassifier) -> None:
    frame = pd.DataFrame({"review": TEXTS, "stars": [1, 5] * 15})
    train, test = train_test_split(frame, stratify=frame["stars"], random_state=0)
    fitted = clone(untrained).fit(train["review"], train["stars"])
    assert list(fitted.classes_) == [1, 5]
    assert 0 <= fitted.score(test["review"], test["stars"]) <= 1


@pytest.mark.parametrize(
    ("texts", "labels", "found"),
    [
        (TEXTS, None, "no labels: fit requires y to be passed, but the target y is None"),
        ([{"text": "a", "label": "x"}, {"text": "b"}], None, "texts[1] has no label"),
        (TEXTS[:1], LABELS[:1], "the training examples have one label only"),
        (TEXTS, np.array(LABELS)[:, None], "labels[0] is of type ndarray"),
        (np.array(TEXTS)[:, None], LABELS, "texts is one ndarray of 2 dimensions"),
        ([], [], "the training examples have no labels at all"),
        (pd.DataFrame({"text": TEXTS}), LABELS, "texts is one DataFrame of 2 dimensions"),
        (TEXTS, [1j] * 30, "labels[0] is of type complex"),
        (TEXTS, [1.0, 0.5] * 15, "labels[1] is 0.5, so these labels are continuous numbers"),
    ],
    ids=[
        "no-y",
        "a-missing-label",
        "one-label",
        "y-2d",
        "x-2d",
        "empty",
        "frame",
        "complex",
        "continuous",
    ],
)
def test_what_the_checks_word_otherwise_is_refused_in_three_lines(
    untrained: TextClassifier, texts: Any, labels: Any, found: str
) -> None:
    with pytest.raises(DatasetError) as refused:
        clone(untrained).fit(texts, labels)
    assert refused.value.found.startswith(found), refused.value.found
    assert refused.value.expected
    assert refused.value.remedy
