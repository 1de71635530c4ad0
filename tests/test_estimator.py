"""`TextClassifier`: a scikit-learn estimator that takes texts in any container."""

from __future__ import annotations

from pathlib import Path

import datasets
import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from families import save_decoder
from lasttoken import ConfigError, DatasetError, TextClassifier

TEXTS = [f"{word} {number}" for number in range(15) for word in ("good film", "bad movie")]
LABELS = ["good", "bad"] * 15


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_decoder(tmp_path_factory.mktemp("m") / "gpt2", initializer_range=0.02))


@pytest.fixture(scope="module")
def untrained(decoder: str) -> TextClassifier:
    return TextClassifier(decoder, num_epochs=2, batch_size=8, learning_rate=3e-3, precision="fp32")


@pytest.fixture(scope="module")
def classifier(untrained: TextClassifier) -> TextClassifier:
    return clone(untrained).fit(TEXTS, LABELS)


def test_predict_is_the_argmax_of_predict_proba_in_the_order_of_classes(
    classifier: TextClassifier,
) -> None:
    probs = classifier.predict_proba(TEXTS)
    assert probs.shape == (30, 2)
    assert probs.dtype == np.float64
    assert np.allclose(probs.sum(axis=1), 1)
    assert list(classifier.classes_) == ["bad", "good"]
    expected = classifier.classes_[probs.argmax(axis=1)]
    assert (classifier.predict(TEXTS) == expected).all()


@pytest.mark.parametrize(
    "container",
    [
        list,
        tuple,
        np.array,
        pd.Series,
        lambda values: datasets.Dataset.from_dict({"c": values})["c"],
    ],
    ids=["list", "tuple", "array", "series", "datasets"],
)
def test_every_container_gives_the_same_answers(
    classifier: TextClassifier, untrained: TextClassifier, container: object
) -> None:
    fitted = clone(untrained).fit(container(TEXTS), container(LABELS))
    assert np.array_equal(fitted.predict_proba(container(TEXTS)), classifier.predict_proba(TEXTS))


def test_a_sequence_of_labeled_examples_fits_too(
    classifier: TextClassifier, untrained: TextClassifier
) -> None:
    rows = [{"text": text, "label": label} for text, label in zip(TEXTS, LABELS)]
    fitted = clone(untrained).fit(rows)
    assert np.array_equal(fitted.predict_proba(TEXTS), classifier.predict_proba(TEXTS))


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        ([1, 0] * 15, np.integer),
        ([True, False] * 15, np.bool_),
        (np.array([7, 10] * 15), np.integer),
    ],
    ids=["int", "bool", "array"],
)
def test_labels_come_back_in_the_type_they_were_given(
    untrained: TextClassifier, tmp_path: Path, labels: list, kind: type
) -> None:
    fitted = clone(untrained).set_params(num_epochs=10).fit(TEXTS, labels)
    assert isinstance(fitted.predict(TEXTS)[0], kind)
    assert set(fitted.predict(TEXTS)) <= set(labels)
    assert fitted.score(TEXTS, labels) > 0.9
    fitted.save_pretrained(tmp_path / "saved")
    again = TextClassifier.from_pretrained(tmp_path / "saved", precision="fp32")
    assert isinstance(again.predict(TEXTS)[0], kind)


def test_columns_are_sorted_by_the_value_of_integer_labels(untrained: TextClassifier) -> None:
    fitted = clone(untrained).set_params(num_epochs=10).fit(TEXTS, [10, 9] * 15)
    assert list(fitted.classes_) == [9, 10]
    probs = fitted.predict_proba(TEXTS)
    assert (fitted.classes_[probs.argmax(axis=1)] == fitted.predict(TEXTS)).all()
    assert fitted.score(TEXTS, [10, 9] * 15) > 0.9
    from sklearn.metrics import get_scorer

    assert get_scorer("neg_log_loss")(fitted, TEXTS, [10, 9] * 15) > -0.5


@pytest.mark.parametrize("setting", ["num_epochs", "batch_size", "learning_rate"])
def test_a_setting_out_of_range_is_refused(untrained: TextClassifier, setting: str) -> None:
    with pytest.raises(ConfigError, match=f"--{setting.replace('_', '-')} 0"):
        clone(untrained).set_params(**{setting: 0}).fit(TEXTS, LABELS)


def test_save_load_predict_is_predict_bit_for_bit(
    classifier: TextClassifier, tmp_path: Path
) -> None:
    classifier.save_pretrained(tmp_path / "saved")
    again = TextClassifier.from_pretrained(tmp_path / "saved", precision="fp32")
    assert np.array_equal(again.predict_proba(TEXTS), classifier.predict_proba(TEXTS))
    assert again.num_epochs == classifier.num_epochs


def test_a_text_gets_the_same_bits_whatever_its_company(classifier: TextClassifier) -> None:
    together = classifier.predict_proba([*TEXTS, "x" * 400])
    alone = np.concatenate([classifier.predict_proba([text]) for text in TEXTS])
    assert np.array_equal(together[:-1], alone)


def test_it_works_with_scikit_learns_tools(untrained: TextClassifier, tmp_path: Path) -> None:
    one_epoch = clone(untrained).set_params(num_epochs=1)
    assert one_epoch.get_params()["num_epochs"] == 1
    assert len(cross_val_score(one_epoch, TEXTS, LABELS, cv=2)) == 2
    search = GridSearchCV(one_epoch, {"learning_rate": [1e-3, 3e-3]}, cv=2).fit(TEXTS, LABELS)
    assert search.best_params_["learning_rate"] in (1e-3, 3e-3)
    pipeline = make_pipeline(clone(one_epoch)).fit(TEXTS, LABELS)
    assert pipeline.predict_proba(TEXTS[:3]).shape == (3, 2)


def test_a_fitted_classifier_survives_joblib(classifier: TextClassifier, tmp_path: Path) -> None:
    joblib.dump(classifier, tmp_path / "c.joblib")
    again = joblib.load(tmp_path / "c.joblib")
    assert np.array_equal(again.predict_proba(TEXTS), classifier.predict_proba(TEXTS))


def test_validation_may_be_given(untrained: TextClassifier) -> None:
    fitted = clone(untrained).fit(TEXTS[:20], LABELS[:20], validation=(TEXTS[20:], LABELS[20:]))
    assert len(fitted.history_) == 2


def test_broken_unicode_is_repaired_at_prediction_if_it_was_in_training(
    untrained: TextClassifier, tmp_path: Path
) -> None:
    texts = [text.replace("o", "Ã©", 1) for text in TEXTS]
    fitted = clone(untrained).set_params(fix_text=True).fit(texts, LABELS)
    fitted.save_pretrained(tmp_path / "saved")
    again = TextClassifier.from_pretrained(tmp_path / "saved", precision="fp32")
    repaired = [text.replace("o", "é", 1) for text in TEXTS]
    assert np.array_equal(again.predict_proba(texts), again.predict_proba(repaired))


def test_empty_texts_and_no_texts_are_answered(classifier: TextClassifier) -> None:
    assert classifier.predict_proba([""]).shape == (1, 2)
    assert classifier.predict_proba([]).shape == (0, 2)
    assert classifier.predict([]).shape == (0,)


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [
        (["a", None], ["x", "y"], "texts[1] is"),
        (["a", 3], ["x", "y"], "texts[1] is"),
        ("a text", ["x"], "texts"),
        (["a", "b"], "xy", "labels"),
        (["a", "b"], ["x"], "2 texts but 1 labels"),
        (["a", "b"], ["x", None], "labels[1] is missing"),
    ],
    ids=["none", "number", "string", "label-string", "lengths", "no-label"],
)
def test_bad_input_is_refused_by_name(
    untrained: TextClassifier, texts: object, labels: object, message: str
) -> None:
    with pytest.raises(DatasetError) as error:
        clone(untrained).fit(texts, labels)
    assert message in str(error.value)


def test_one_label_only_is_refused(untrained: TextClassifier) -> None:
    with pytest.raises(DatasetError, match="label"):
        clone(untrained).fit(TEXTS, ["x"] * 30)


def test_more_tokens_than_the_model_reads_are_refused(untrained: TextClassifier) -> None:
    with pytest.raises(ConfigError, match="--max-length 513: more than model"):
        clone(untrained).set_params(max_length=513).fit(TEXTS, LABELS)


def test_an_unfitted_classifier_says_what_to_do(untrained: TextClassifier) -> None:
    for call in (untrained.predict, untrained.predict_proba, untrained.save_pretrained):
        with pytest.raises(NotFittedError, match=r"call fit\(texts, labels\) first"):
            call(["a"])
