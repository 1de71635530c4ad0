"""A fitted classifier answers Python programs, in the form in which they gave the labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils.metaestimators import available_if

from lasttoken.data.examples import examples_from_python, second_texts
from lasttoken.data.python_labels import answers_of_sets, label_strings
from lasttoken.data.tasks import task_of
from lasttoken.data.written import LabelKind, to_label_type, to_number
from lasttoken.inference.predictor import Predictor

# Texts tokenized and classified at a time: bounds memory whatever the input's size.
TEXTS_PER_CHUNK = 10_000


def _has_probabilities(classifier: Answerer) -> bool:
    if classifier.task == "regression":
        raise AttributeError("a regression predicts numbers, which have no probabilities")
    return True


class Answerer(Predictor):
    """What answers texts, once it has a model; `TextClassifier` is one.

    Attributes:
        classes_: (C,) the labels, sorted, of the type given to `fit`; of a regression, its name.
        task: "single-label", "multi-label", "ordinal" or "regression".
    """

    classes_: NDArray[Any]
    task: str

    def predict(self, texts: Iterable[Any]) -> Any:  # noqa: ANN401 - as the labels were given
        """Return the label of each text, in the form and of the type given to `fit`.

        Returns:
            (N,) the most probable labels; multi-label: a list of N tuples of labels in the order
            of `classes_`, or an array (N, C) of 0 and 1, each label from its threshold on (0.5
            where none was fitted); regression: (N,) float64.
        """
        return _ANSWERS[self._fitted().classifier.labels.kind](self, texts)

    @available_if(_has_probabilities)  # type: ignore[untyped-decorator]
    def predict_proba(self, texts: Iterable[Any]) -> NDArray[np.float64]:
        """Return probabilities, (N, C) float64, columns in the order of `classes_`.

        Rows sum to 1 but for multi-label, where each label stands alone. A regression has none.

        Raises:
            NotFittedError: neither `fit` nor `from_pretrained` came before.
            DatasetError: a text is missing or no string.
        """
        return self._values(texts)[:, self._sorted_ids]

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:  # noqa: ANN401, N803 - as scikit-learn's
        """Return accuracy; multi-label: of whole sets; regression: R2, the share explained."""
        predicted = self.predict(X)
        spec = self._fitted().classifier.labels
        if spec.kind == "regression":
            return float(r2_score(y, predicted, sample_weight=sample_weight))
        true, answered = (label_strings(each, task_of(spec)) for each in (y, predicted))
        if self._fitted().record.label_type == "float":  # 1 and 1.0 are one label then
            true, answered = ([str(to_number(each)) for each in some] for some in (true, answered))
        return float(accuracy_score(true, answered, sample_weight=sample_weight))

    def _values(self, texts: Iterable[Any]) -> NDArray[np.float64]:
        """Return probabilities or numbers, (N, C), columns in the model's order."""
        num_logits = self._fitted().classifier.labels.num_logits
        examples = examples_from_python(texts)
        chunks = [np.zeros((0, num_logits))]
        for start in range(0, len(examples), TEXTS_PER_CHUNK):
            chunk = examples[start : start + TEXTS_PER_CHUNK]
            read = self.tokenize([example.text for example in chunk], second_texts(chunk))
            chunks.append(self.probs(self.predict_logits(read)))
        return np.concatenate(chunks)

    def _order_classes(self) -> None:
        loaded = self._fitted()
        labels = to_label_type(loaded.classifier.labels.labels, loaded.record.label_type)
        # scikit-learn's scorers take sorted columns for granted; the string "10" precedes "9".
        self._sorted_ids = np.argsort(labels, kind="stable")
        self.classes_ = labels[self._sorted_ids]


def _most_probable(answerer: Answerer, texts: Iterable[Any]) -> NDArray[Any]:
    return np.asarray(answerer.classes_[answerer.predict_proba(texts).argmax(axis=1)])


def _sets(answerer: Answerer, texts: Iterable[Any]) -> Any:  # noqa: ANN401 - two forms
    given = answerer.decide(answerer._values(texts))[:, answerer._sorted_ids]
    return answers_of_sets(given, answerer.classes_, answerer._fitted().record.label_type)


def _numbers(answerer: Answerer, texts: Iterable[Any]) -> NDArray[np.float64]:
    return answerer.decide(answerer._values(texts))


_ANSWERS: dict[LabelKind, Callable[[Answerer, Iterable[Any]], Any]] = {
    "single_label": _most_probable,
    "multi_label": _sets,
    "ordinal": _most_probable,
    "regression": _numbers,
}
