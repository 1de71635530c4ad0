"""Every kind of task over HTTP: sets, ordered labels, numbers; pairs, templates and windows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from served import ask

from lasttoken import TextClassifier

SAME = 1e-5
TEXTS = [f"a {word} film, number {n}" for n in range(12) for word in ("glad", "sad", "plain")]
LABELS: dict[str, list[Any]] = {
    "multi-label": [("joy",), ("grief", "calm"), ()] * 12,
    "ordinal": ["1", "2", "3"] * 12,
    "regression": [4.5, 1.0, 3.0] * 12,
}


def trained(folder: Path, model: Path, task: str, **settings: Any) -> TextClassifier:
    """Train for a moment, save, and load as `serve` does."""
    words = {"num_epochs": 1, "max_length": 48, "precision": "fp32", **settings}
    texts = words.pop("texts", TEXTS)
    labels = LABELS.get(task, ["a", "b", "a"] * 12)
    TextClassifier(str(model), task=task, **words).fit(texts, labels).save_pretrained(folder)
    return TextClassifier.from_pretrained(folder, precision="fp32", device="cpu")


def post(classifier: TextClassifier, **content: Any) -> httpx.Response:
    return ask(classifier, lambda client: client.post("/classify", json=content))


@pytest.fixture(scope="module")
def of_task(tiny_gpt2: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    made: dict[str, TextClassifier] = {}

    def get(task: str) -> TextClassifier:
        if task not in made:
            made[task] = trained(tmp_path_factory.mktemp("task") / "model", tiny_gpt2, task)
        return made[task]

    return get


def test_of_sets_every_given_label_is_told_with_its_score(of_task: Any) -> None:
    classifier = of_task("multi-label")
    found = post(classifier, texts=TEXTS, probabilities=True, explain=False).json()["predictions"]
    probs = classifier.predict_proba(TEXTS)
    for one, expected, row in zip(found, classifier.predict(TEXTS), probs):
        assert set(one) == {"labels", "scores", "truncated", "probabilities"}
        assert one["labels"] == list(expected)
        shares = dict(zip(classifier.classes_.tolist(), row.tolist()))
        assert one["probabilities"] == pytest.approx(shares, abs=SAME)
        assert one["scores"] == [one["probabilities"][label] for label in one["labels"]]


def test_of_sets_the_words_are_those_of_the_most_probable_label(of_task: Any) -> None:
    classifier = of_task("multi-label")
    (one,) = post(classifier, texts=TEXTS[:1], explain=True).json()["predictions"]
    probs = classifier.predict_proba(TEXTS[:1])
    assert one["explained"] == classifier.classes_[probs[0].argmax()]
    assert "".join(word["text"] for word in one["words"]) == TEXTS[0]


def test_ordered_labels_look_like_any_others(of_task: Any) -> None:
    classifier = of_task("ordinal")
    found = post(classifier, texts=TEXTS).json()["predictions"]
    assert [one["label"] for one in found] == classifier.predict(TEXTS).tolist()
    assert set(found[0]) == {"label", "score", "truncated"}


def test_a_number_is_a_value_without_probabilities(of_task: Any) -> None:
    classifier = of_task("regression")
    content = {"texts": TEXTS, "probabilities": True}
    found = post(classifier, **content).json()["predictions"]
    np.testing.assert_allclose(
        [one["value"] for one in found], classifier.predict(TEXTS), atol=SAME
    )
    assert set(found[0]) == {"value", "truncated"}
    (one,) = post(classifier, texts=TEXTS[:1], explain=True).json()["predictions"]
    assert set(one) == {"value", "truncated", "words"}


@pytest.mark.parametrize(
    ("task", "fields"),
    [
        ("multi-label", ["labels", "scores", "truncated", "probabilities", "explained", "words"]),
        ("ordinal", ["label", "score", "truncated", "probabilities", "words"]),
        ("regression", ["value", "truncated", "words"]),
    ],
)
def test_openapi_knows_the_kind(of_task: Any, task: str, fields: list[str]) -> None:
    schema = ask(of_task(task), lambda client: client.get("/openapi.json")).json()
    assert list(schema["components"]["schemas"]["Prediction"]["properties"]) == fields


def test_pairs_of_texts_are_asked_for_by_a_model_of_pairs(tiny_gpt2: Path, tmp_path: Path) -> None:
    pairs = [(text, f"and {n}") for n, text in enumerate(TEXTS)]
    classifier = trained(tmp_path / "model", tiny_gpt2, "single-label", texts=pairs)
    asked = {"texts": TEXTS[:3], "text_pairs": [pair for _, pair in pairs[:3]]}
    found = post(classifier, **asked, explain=True).json()["predictions"]
    scores = classifier.predict_proba(pairs[:3]).max(axis=1)
    np.testing.assert_allclose([one["score"] for one in found], scores, atol=SAME)
    assert "".join(word["text"] for word in found[0]["words"]) == "\n".join(pairs[0])
    response = post(classifier, texts=TEXTS[:3])
    assert response.status_code == 422
    assert response.json()["error"]["found"] == "text_pairs: Field required"
    response = post(classifier, texts=TEXTS[:3], text_pairs=["b"])
    assert response.status_code == 422
    assert response.json()["error"]["found"] == "3 texts and 1 text_pairs"


@pytest.mark.parametrize(
    "settings",
    [
        {"template": "Review: {text} Good?"},
        {"long": "windows", "max_length": 16},
        {"long": "cut-middle", "max_length": 16},
        {"template": "Review: {text} Good?", "long": "windows", "max_length": 40},
    ],
)
def test_texts_are_read_as_in_training(
    tiny_gpt2: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    classifier = trained(tmp_path / "model", tiny_gpt2, "single-label", **settings)
    texts = [*TEXTS, TEXTS[0] * 5, "", "x"]
    found = post(classifier, texts=texts, explain=False).json()["predictions"]
    scores = classifier.predict_proba(texts).max(axis=1)
    np.testing.assert_allclose([one["score"] for one in found], scores, atol=SAME)
    assert [one["truncated"] for one in found] == classifier.tokenize(texts).truncated.tolist()
    (one,) = post(classifier, texts=[TEXTS[0] * 2], explain=True).json()["predictions"]
    assert "".join(word["text"] for word in one["words"]) == TEXTS[0] * 2
