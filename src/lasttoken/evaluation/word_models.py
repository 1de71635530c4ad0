"""Linear models on word counts: what the baselines of every kind of task are made of.

    texts -> counts of words and word pairs -> TF-IDF -> linear model -> outputs (M, K)

The strength of the penalty is chosen by cross-validation on the training examples alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lasttoken.evaluation.folds import deal_into_folds, stratified_sample
from lasttoken.evaluation.metrics import LabelIds
from lasttoken.events import EventCallback, Note, Progress

FOLDS = 5
FOLDS_IF_LARGE = 2

# Limits that keep the baseline to minutes and about 2 GB; all far above a few thousand texts.
MAX_CHARACTERS = 50_000_000  # of training text: word pairs of more no longer fit a small machine
MAX_SEARCH_EXAMPLES = 20_000  # for choosing the strength; the final fit takes all
LARGE = 20_000_000  # characters times labels; above it, two folds instead of five choose it
MAX_WEIGHTS = 20_000_000  # words and pairs times labels
RARE_WORDS_UP_TO = 20_000  # training texts; with more of them, words seen in one text are dropped


class Fitting(Protocol):
    """A model that is fitted with one strength after another on the same features."""

    def fit(self, features: Any, targets: NDArray[Any], strength: float) -> None:  # noqa: ANN401
        """Fit sparse features (N, V) to targets (N, ...); may start from the fit before."""

    def outputs(self, features: Any) -> NDArray[np.float64]:  # noqa: ANN401
        """Return what it says of features (M, V): probabilities (M, C), or values (M, 1)."""


@dataclass(frozen=True)
class WordModel:
    """A kind of linear model, and how the strength of its penalty is chosen.

    Attributes:
        start: seed to a model that is not fitted yet.
        strengths: that are tried; of equally good ones the first wins.
        strength_name: as the model calls it.
        quality: held-out targets and outputs to what is summed over folds; the larger the better.
        can_learn: whether a model can be fitted to such targets.
        cannot: why not, in words.
        num_outputs: K, each of which has a weight for every word.
        num_fits: separate problems that one fit solves.
    """

    start: Callable[[int], Fitting]
    strengths: tuple[float, ...]
    strength_name: str
    quality: Callable[[NDArray[Any], NDArray[np.float64]], float]
    can_learn: Callable[[NDArray[Any]], bool]
    cannot: str
    num_outputs: int
    num_fits: int


@dataclass(frozen=True)
class WordAnswers:
    """What a linear model on words said of texts.

    Attributes:
        outputs: (M, K) for each of the lists of texts asked about; None if no model could be made.
        settings: what it was made with, ready for JSON.
        reason: why `outputs` is None; None otherwise.
    """

    outputs: tuple[NDArray[np.float64], ...] | None
    settings: dict[str, object]
    reason: str | None


def answer_by_words(
    train_texts: Sequence[str],
    targets: NDArray[Any],
    strata: LabelIds,
    asked: Sequence[Sequence[str]],
    *,
    model: WordModel,
    seed: int,
    on_event: EventCallback,
) -> WordAnswers:
    """Fit TF-IDF of words and word pairs + a linear model, and ask it about texts.

    Where no such model can be made, `reason` says why: a baseline never stops a run.

    Args:
        train_texts: N.
        targets: (N, ...) what is learned.
        strata: (N,) of whose every value folds and samples keep their part.
        asked: lists of texts.
        model: the kind.
        seed: of folds, samples and the solver.
        on_event: hears progress.

    Raises:
        ValueError: texts and targets differ in number.

    Source:
        Sublinear TF-IDF with unit rows: `sklearn.feature_extraction.text.TfidfTransformer`.
        Words are runs of one or more word characters, not scikit-learn's two or more: "I", "5"
        and the one-character words of Chinese carry meaning (rt_polarity 0.791 -> 0.796).
    """
    if len(train_texts) != len(targets):
        raise ValueError("every text needs one label id")
    rng = np.random.default_rng(seed)
    kept = _within_budget(train_texts, strata, rng)  # (N,) indices
    if len(kept) < len(train_texts):
        note = f"TF-IDF baseline: trained on {len(kept):,} of {len(train_texts):,} texts"
        on_event(Note(note, is_warning=True))
    settings: dict[str, object] = {"train_examples": len(kept), "seed": seed}
    outputs, reason = None, None
    with warnings.catch_warnings(record=True) as caught:  # recorded below, never lost
        warnings.simplefilter("always")
        try:
            outputs = _fit_and_ask(
                [train_texts[i] for i in kept],
                targets[kept],
                strata[kept],
                asked,
                model,
                rng,
                settings,
                on_event,
            )
        except _NoModelError as error:
            reason = str(error)
        except MemoryError:  # a run of hours must not end here
            reason = "there is too little memory"
    if caught:
        settings["warnings"] = sorted({str(warning.message) for warning in caught})
    return WordAnswers(outputs, settings, reason)


class _NoModelError(Exception):
    """The examples allow no such baseline; the text says why."""


def _fit_and_ask(
    train_texts: Sequence[str],
    targets: NDArray[Any],
    strata: LabelIds,
    asked: Sequence[Sequence[str]],
    model: WordModel,
    rng: np.random.Generator,
    settings: dict[str, object],
    on_event: EventCallback,
) -> tuple[NDArray[np.float64], ...]:
    """Return the outputs (M, K) for each list of texts; fill in `settings`."""
    from sklearn.feature_extraction.text import CountVectorizer

    if not model.can_learn(targets):
        raise _NoModelError(model.cannot)
    vectorizer = CountVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b", dtype=np.float64)
    try:
        counts = vectorizer.fit_transform(train_texts)  # (N, V) sparse
    except ValueError as error:  # scikit-learn's "empty vocabulary"
        raise _NoModelError("no training text holds a word") from error

    min_df = 1 if len(train_texts) <= RARE_WORDS_UP_TO else 2
    max_columns = max(1, MAX_WEIGHTS // model.num_outputs)
    search = stratified_sample(strata, MAX_SEARCH_EXAMPLES, rng)
    work = sum(len(train_texts[i]) for i in search) * model.num_fits
    folds = min(FOLDS if work <= LARGE else FOLDS_IF_LARGE, len(search))
    fits = folds * len(model.strengths) + 1
    fold_of = deal_into_folds(strata[search], folds, rng)

    solver_seed = int(rng.integers(2**31))
    quality = np.zeros(len(model.strengths))
    used_folds = 0
    for fold in range(folds):
        inside, outside = search[fold_of != fold], search[fold_of == fold]
        # Words are counted once, above; what is learned from them (which words exist, their
        # weights) is learned anew inside each fold, as if the held-out texts did not exist.
        features = _tfidf(counts[inside], counts[outside], min_df, max_columns)
        if features is None or not model.can_learn(targets[inside]):
            continue  # a label's only example was held out: this fold can teach nothing
        used_folds += 1
        fitting = model.start(solver_seed)
        for index, strength in enumerate(model.strengths):
            fitting.fit(features[0], targets[inside], strength)
            quality[index] += model.quality(targets[outside], fitting.outputs(features[1]))
            done = fold * len(model.strengths) + index + 1
            on_event(Progress("baseline", done, fits, "fits"))
    # Without a usable fold all are equal; then the middle value is as good a guess as any.
    middle = len(model.strengths) // 2
    chosen = model.strengths[int(quality.argmax()) if used_folds else middle]

    features = _tfidf(counts, vectorizer.transform([t for texts in asked for t in texts]),
                      min_df, max_columns)  # fmt: skip
    if features is None:
        raise _NoModelError("no word stands in two training texts")
    fitting = model.start(solver_seed)
    fitting.fit(features[0], targets, chosen)
    ends = np.cumsum([len(texts) for texts in asked])[:-1]
    outputs = tuple(np.split(fitting.outputs(features[1]), ends))
    settings.update(
        ngram_range=[1, 2],
        min_df=min_df,
        vocabulary_size=int(features[0].shape[1]),
        **{model.strength_name: chosen, f"{model.strength_name}_values": list(model.strengths)},
        folds=used_folds,
        search_examples=len(search),
    )
    on_event(Progress("baseline", fits, fits, "fits"))
    return outputs


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
    texts: Sequence[str], strata: LabelIds, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return the indices of as many texts as `MAX_CHARACTERS` allows, stratified."""
    characters = sum(len(text) for text in texts)
    share = min(1.0, MAX_CHARACTERS / max(characters, 1))
    return stratified_sample(strata, max(2, int(len(texts) * share)), rng)
