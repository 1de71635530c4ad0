"""Baselines: what the same examples give without any language model.

A classifier is worth its cost only above these two: always answering the commonest label, and a
linear model on word counts that trains in seconds. Neither ever sees a test label.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lasttoken.evaluation.folds import deal_into_folds, stratified_sample
from lasttoken.evaluation.metrics import (
    ClassificationMetrics,
    LabelIds,
    Probs,
    classification_metrics,
)
from lasttoken.events import EventCallback, Note, Progress, ignore

MAJORITY = "majority"
TFIDF = "tfidf_logistic_regression"
# What people are told; for the middle of a sentence.
BASELINE_NAMES = {
    TFIDF: "TF-IDF + logistic regression",
    MAJORITY: "always answering the commonest label",
}

# Inverse strengths of the L2 penalty that are tried: 0.3 to 30, evenly spaced in their logarithm.
C_VALUES = (0.3, 0.949, 3.0, 9.49, 30.0)
FOLDS = 5
FOLDS_IF_LARGE = 2

# Limits that keep the baseline to minutes and about 2 GB; all far above a few thousand texts.
MAX_CHARACTERS = 50_000_000  # of training text: word pairs of more no longer fit a small machine
MAX_SEARCH_EXAMPLES = 20_000  # for choosing C; the final fit takes all
LARGE = 20_000_000  # characters times labels; above it, two folds instead of five choose C
MAX_WEIGHTS = 20_000_000  # words and pairs times labels
RARE_WORDS_UP_TO = 20_000  # training texts; with more of them, words seen in one text are dropped


@dataclass(frozen=True)
class BaselineResult:
    """What one baseline reached.

    Attributes:
        name: "majority" or "tfidf_logistic_regression".
        metrics: its scores on the test examples, or None if it could not be made.
        settings: what it was made with, ready for JSON.
        seconds: wall seconds of fitting and scoring.
        reason: why `metrics` is None; None otherwise.
        predicted_ids: its answers to the test examples (M,), or None.
    """

    name: str
    metrics: ClassificationMetrics | None
    settings: Mapping[str, object]
    seconds: float
    reason: str | None = None
    predicted_ids: LabelIds | None = None


def majority_baseline(
    train_label_ids: LabelIds, test_label_ids: LabelIds, labels: Sequence[str]
) -> BaselineResult:
    """Answer every text with the training examples' commonest label.

    Its probabilities are the label shares of the training examples: the best that a constant
    answer can know, so that its log loss is a fair floor too.

    Shapes:
        train_label_ids (N,) int64; test_label_ids (M,) int64.

    Raises:
        ValueError: an id is out of range, or there is no example.
    """
    start = time.perf_counter()
    counts = np.bincount(train_label_ids, minlength=len(labels))  # (C,)
    probs = np.tile(counts / counts.sum(), (len(test_label_ids), 1))  # (M, C)
    metrics = classification_metrics(test_label_ids, probs, labels)
    settings = {"label": labels[int(counts.argmax())]}
    seconds = time.perf_counter() - start
    return BaselineResult(MAJORITY, metrics, settings, seconds, predicted_ids=probs.argmax(axis=1))


def tfidf_baseline(
    train_texts: Sequence[str],
    train_label_ids: LabelIds,
    test_texts: Sequence[str],
    test_label_ids: LabelIds,
    labels: Sequence[str],
    *,
    seed: int,
    on_event: EventCallback = ignore,
) -> BaselineResult:
    """Fit TF-IDF of words and word pairs + logistic regression, and score it on the test texts.

    The strength of the penalty is chosen by cross-validation on the training examples alone, by
    accuracy, the stronger penalty of equals. Where no such model can be made, `metrics` is None
    and `reason` says why: a baseline never stops a run.

    Shapes:
        train_label_ids (N,) int64; test_label_ids (M,) int64.

    Raises:
        ValueError: texts and label ids differ in number, or a test id is out of range.

    Source:
        Sublinear TF-IDF with unit rows: `sklearn.feature_extraction.text.TfidfTransformer`.
        Words are runs of one or more word characters, not scikit-learn's two or more: "I", "5"
        and the one-character words of Chinese carry meaning (rt_polarity 0.791 -> 0.796).
    """
    if len(train_texts) != len(train_label_ids) or len(test_texts) != len(test_label_ids):
        raise ValueError("every text needs one label id")
    start = time.perf_counter()
    rng = np.random.default_rng(seed)
    kept = _within_budget(train_texts, train_label_ids, rng)  # (N,) indices
    if len(kept) < len(train_texts):
        note = f"TF-IDF baseline: trained on {len(kept):,} of {len(train_texts):,} texts"
        on_event(Note(note, is_warning=True))
    settings: dict[str, object] = {"train_examples": len(kept), "seed": seed}
    metrics, reason, predicted_ids = None, None, None
    with warnings.catch_warnings(record=True) as caught:  # recorded below, never lost
        warnings.simplefilter("always")
        try:
            probs = _fit_and_predict(
                [train_texts[i] for i in kept],
                train_label_ids[kept],
                test_texts,
                len(labels),
                rng,
                settings,
                on_event,
            )
        except _NoModelError as error:
            reason = str(error)
        except MemoryError:  # a run of hours must not end here
            reason = "there is too little memory"
        else:
            metrics = classification_metrics(test_label_ids, probs, labels)
            predicted_ids = probs.argmax(axis=1)
    if caught:
        settings["warnings"] = sorted({str(warning.message) for warning in caught})
    seconds = time.perf_counter() - start
    return BaselineResult(TFIDF, metrics, settings, seconds, reason, predicted_ids)


class _NoModelError(Exception):
    """The examples allow no such baseline; the text says why."""


def _fit_and_predict(
    train_texts: Sequence[str],
    train_label_ids: LabelIds,
    test_texts: Sequence[str],
    num_labels: int,
    rng: np.random.Generator,
    settings: dict[str, object],
    on_event: EventCallback,
) -> Probs:
    """Return the test texts' probabilities (M, C); fill in `settings`."""
    from sklearn.feature_extraction.text import (
        CountVectorizer,
    )

    if len(np.unique(train_label_ids)) < 2:
        raise _NoModelError("the training examples have one label only")
    vectorizer = CountVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b", dtype=np.float64)
    try:
        counts = vectorizer.fit_transform(train_texts)  # (N, V) sparse
    except ValueError as error:  # scikit-learn's "empty vocabulary"
        raise _NoModelError("no training text holds a word") from error

    min_df = 1 if len(train_texts) <= RARE_WORDS_UP_TO else 2
    max_columns = max(1, MAX_WEIGHTS // num_labels)
    search = stratified_sample(train_label_ids, MAX_SEARCH_EXAMPLES, rng)
    work = sum(len(train_texts[i]) for i in search) * (1 if num_labels == 2 else num_labels)
    folds = min(FOLDS if work <= LARGE else FOLDS_IF_LARGE, len(search))
    fits = folds * len(C_VALUES) + 1
    fold_of = deal_into_folds(train_label_ids[search], folds, rng)

    solver_seed = int(rng.integers(2**31))
    correct = np.zeros(len(C_VALUES), dtype=np.int64)
    used_folds = 0
    for fold in range(folds):
        inside, outside = search[fold_of != fold], search[fold_of == fold]
        # Words are counted once, above; what is learned from them (which words exist, their
        # weights) is learned anew inside each fold, as if the held-out texts did not exist.
        features = _tfidf(counts[inside], counts[outside], min_df, max_columns)
        if features is None or len(np.unique(train_label_ids[inside])) < 2:
            continue  # a label's only example was held out: this fold can teach nothing
        used_folds += 1
        model = _logistic_regression(solver_seed)
        for index, strength in enumerate(C_VALUES):
            model.set_params(C=strength).fit(features[0], train_label_ids[inside])
            predicted_ids = model.predict(features[1])
            correct[index] += int((predicted_ids == train_label_ids[outside]).sum())
            done = fold * len(C_VALUES) + index + 1
            on_event(Progress("baseline", done, fits, "fits"))
    # Without a usable fold every count is 0; then 3.0, the middle value, is as good a guess as any.
    chosen = C_VALUES[int(correct.argmax())] if used_folds else C_VALUES[len(C_VALUES) // 2]

    features = _tfidf(counts, vectorizer.transform(test_texts), min_df, max_columns)
    if features is None:
        raise _NoModelError("no word stands in two training texts")
    model = _logistic_regression(solver_seed).set_params(C=chosen).fit(features[0], train_label_ids)
    probs = np.zeros((len(test_texts), num_labels))
    probs[:, model.classes_] = model.predict_proba(features[1])  # labels never seen keep 0
    settings.update(
        ngram_range=[1, 2],
        min_df=min_df,
        vocabulary_size=int(features[0].shape[1]),
        C=chosen,
        C_values=list(C_VALUES),
        folds=used_folds,
        search_examples=len(search),
    )
    on_event(Progress("baseline", fits, fits, "fits"))
    return probs


def _logistic_regression(seed: int) -> Any:  # noqa: ANN401 - scikit-learn has no types
    """Return an unfitted model.

    Source:
        SAGA (Defazio et al. 2014), by measurement: the five fits of one fold of 28 labels, 3,200
        texts and 30,479 columns take 1.4 s, against 13 s with Newton-CG and 23 s with L-BFGS, at
        the same log loss. Each C starts from the weights of the one before.
    """
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(solver="saga", max_iter=1000, warm_start=True, random_state=seed)


def _tfidf(train: Any, test: Any, min_df: int, max_columns: int) -> tuple[Any, Any] | None:  # noqa: ANN401
    """Turn counts (N, V) and (M, V) into TF-IDF features of `train`'s own words, or None."""
    from sklearn.feature_extraction.text import TfidfTransformer

    document_counts = np.bincount(train.indices, minlength=train.shape[1])  # (V,)
    columns = np.flatnonzero(document_counts >= min_df)
    if len(columns) == 0:
        return None
    if len(columns) > max_columns:
        common = np.argsort(-document_counts[columns], kind="stable")[:max_columns]
        columns = np.sort(columns[common])
    transformer = TfidfTransformer(sublinear_tf=True).fit(train[:, columns])
    return transformer.transform(train[:, columns]), transformer.transform(test[:, columns])


def _within_budget(
    texts: Sequence[str], label_ids: LabelIds, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return the indices of as many texts as `MAX_CHARACTERS` allows, stratified."""
    characters = sum(len(text) for text in texts)
    share = min(1.0, MAX_CHARACTERS / max(characters, 1))
    return stratified_sample(label_ids, max(2, int(len(texts) * share)), rng)
