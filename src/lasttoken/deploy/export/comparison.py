"""The exported classifier beside the one in torch, on real texts: how much may differ."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lasttoken.deploy.export.texts import CheckTexts
from lasttoken.deploy.light.classifier import LightClassifier
from lasttoken.deploy.light.record import ExportFormat
from lasttoken.errors import RunError
from lasttoken.estimator import TextClassifier
from lasttoken.evaluation.intervals import Interval, wilson
from lasttoken.evaluation.kinds import KINDS
from lasttoken.events import EventCallback, ignore
from lasttoken.model.tokens import TokenizedTexts

LARGEST_SCORE_DIFFERENCE = 1e-4  # of fp32: of probabilities, and of logits for 1 of the largest
LEAST_LABELS_EQUAL = 0.98
LARGEST_ACCURACY_DIFFERENCE = 0.01
# Of int8: rounding to 8 bits turns the last bit of fp32 into a 127th of a block's largest.
LARGEST_BATCH_DIFFERENCE = {"onnx": 1e-4, "onnx-int8": 1e-3}
LARGEST_INT8_SIZE = 0.35  # of the weights in fp32, beside the graph itself
_GRAPH_BYTES = 1_000_000
FEW_TEXTS = 100  # fewer say little about a share of 98 %

_NUM_ALONE = 50  # texts that are answered alone as well
_NUM_TIMED = 20  # texts whose latency is taken
_LONGEST_ANSWERED = 1_024  # tokens of a probe that is answered: attention grows with the square
_LONGEST_PROBE = 100_000  # characters
_ROUNDING = 1e-9  # of shares

# What is easily read otherwise; the texts' own come beside it.
_PROBES = ("", " ", "\n", "a", "na\u00efve caf\u00e9 \u597d \U0001f642", "two\nlines\tand a tab",
           "  so  so  ", "<|endoftext|>", "<s>", "</s>", "<|im_end|>")  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """What was found; kept in the exported folder as `checks`.

    Attributes:
        texts: what they are.
        num_texts: N real texts.
        labels_equal: share of them whose decision is the same; None of a regression.
        num_alone: of these, answered alone as well.
        alone_difference: largest difference of a score alone and in a batch, exported.
        largest_difference: of a score, torch and exported.
        mean_difference: likewise, over all scores.
        largest_logit_difference: of a logit, for each 1 of the largest.
        accuracy: of torch; of sets, whole ones; None of a regression.
        accuracy_interval: its 95 % interval (Wilson).
        exported_accuracy: likewise of the exported one.
        exported_accuracy_interval: likewise.
        num_probes: texts made up to be misread (empty, only end-of-text, too long ...).
        probes_difference: largest difference of one of their scores; None where none was answered.
        milliseconds: median time of a text alone, torch in fp32.
        exported_milliseconds: likewise of the exported one.
        weights_bytes: of the weights in fp32.
        exported_bytes: of the exported graph with its weights.
    """

    texts: str
    num_texts: int
    labels_equal: float | None
    num_alone: int
    alone_difference: float
    largest_difference: float
    mean_difference: float
    largest_logit_difference: float
    accuracy: float | None
    accuracy_interval: Interval | None
    exported_accuracy: float | None
    exported_accuracy_interval: Interval | None
    num_probes: int
    probes_difference: float | None
    milliseconds: float
    exported_milliseconds: float
    weights_bytes: int
    exported_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return asdict(self)


def compare(
    classifier: TextClassifier,
    exported: LightClassifier,
    checked: CheckTexts,
    *,
    exported_bytes: int,
    on_event: EventCallback = ignore,
) -> Comparison:
    """Let both answer the same texts.

    Args:
        classifier: fp32 on the CPU.
        exported: made of it.
        checked: labeled texts.
        exported_bytes: of the exported graph.
        on_event: hears progress.

    Raises:
        RunError: the two read a text as different tokens.
        DatasetError: a label is not one of the model's.
    """
    labels = classifier.loaded_.classifier.labels
    texts = _tokens(classifier, exported, checked.texts, checked.pairs, on_event)
    logits = classifier.predict_logits(texts, on_event=on_event)
    found_logits = exported.predict_logits(texts)
    probs, found_probs = classifier.probs(logits), exported.probs(found_logits)
    # Of numbers, which have any size, differences are told for each 1 of the largest.
    size = max(1.0, float(np.abs(probs).max()))
    differences = np.abs(probs - found_probs) / size
    probes = _tokens(classifier, exported, *_probes(classifier, checked), ignore)
    num_alone = min(_NUM_ALONE, len(texts))
    alone = _alone(exported, texts, num_alone)
    decisions, found_decisions = classifier.decide(probs), exported.decide(found_probs)
    accuracy = found_accuracy = _Accuracy()
    labels_equal = None
    if labels.kind != "regression":
        targets = KINDS[labels.kind].targets(labels, checked.labels)
        accuracy = _accuracy(_equal(decisions, targets))
        found_accuracy = _accuracy(_equal(found_decisions, targets))
        labels_equal = float(_equal(decisions, found_decisions).mean())
    timed = [texts.take(np.array([i])) for i in range(min(_NUM_TIMED, len(texts)))]
    return Comparison(
        texts=checked.source,
        num_texts=len(texts),
        labels_equal=labels_equal,
        num_alone=num_alone,
        alone_difference=float(np.abs(alone - found_probs[:num_alone]).max()) / size,
        largest_difference=float(differences.max()),
        mean_difference=float(differences.mean()),
        largest_logit_difference=_relative_difference(logits, found_logits),
        accuracy=accuracy.share,
        accuracy_interval=accuracy.interval,
        exported_accuracy=found_accuracy.share,
        exported_accuracy_interval=found_accuracy.interval,
        num_probes=len(probes),
        probes_difference=_difference_of_probes(classifier, exported, probes, size),
        milliseconds=_milliseconds(classifier.predict_logits, timed),
        exported_milliseconds=_milliseconds(exported.predict_logits, timed),
        weights_bytes=sum(4 * w.numel() for w in classifier.loaded_.classifier.parameters()),
        exported_bytes=exported_bytes,
    )


def faults_of(found: Comparison, export_format: ExportFormat) -> list[str]:
    """Return why an export must not be written; none if it may."""
    faults = []
    values = [value for value in asdict(found).values() if isinstance(value, float)]
    if not np.isfinite(values).all():
        faults.append("a score is no number")
    if found.labels_equal is not None and found.labels_equal < LEAST_LABELS_EQUAL - _ROUNDING:
        faults.append(f"{found.labels_equal:.1%} of the labels are equal")
    largest = LARGEST_BATCH_DIFFERENCE[export_format]
    if not found.alone_difference <= largest:
        faults.append(
            f"a text's score differs by {found.alone_difference:.2g} alone and in a batch"
        )
    if export_format == "onnx":
        for name, difference in (
            ("a score", found.largest_difference),
            ("a logit", found.largest_logit_difference),
            ("a score of an unusual text", found.probes_difference or 0.0),
        ):
            if not difference <= LARGEST_SCORE_DIFFERENCE:
                faults.append(f"{name} differs by {difference:.2g}")
    elif found.exported_bytes > LARGEST_INT8_SIZE * found.weights_bytes + _GRAPH_BYTES:
        faults.append(f"{found.exported_bytes / found.weights_bytes:.2f} of the weights in fp32")
    if found.accuracy is not None and found.exported_accuracy is not None:
        difference = found.exported_accuracy - found.accuracy
        if not abs(difference) <= LARGEST_ACCURACY_DIFFERENCE + _ROUNDING:
            faults.append(f"accuracy differs by {100 * difference:+.1f} points")
    return faults


def expected_of(export_format: ExportFormat) -> str:
    """Return in a line what an export must reach to be written."""
    if export_format == "onnx":
        return f"every score and logit within {LARGEST_SCORE_DIFFERENCE:g} of the model's in torch"
    return (
        f"{LEAST_LABELS_EQUAL:.0%} of the labels equal, accuracy within "
        f"{100 * LARGEST_ACCURACY_DIFFERENCE:.0f} point, the same answer alone and in a batch, "
        f"and a size of at most {LARGEST_INT8_SIZE:g} of the weights in fp32"
    )


def _tokens(
    classifier: TextClassifier,
    exported: LightClassifier,
    texts: list[str],
    pairs: list[str] | None,
    on_event: EventCallback,
) -> TokenizedTexts:
    """Return the tokens of texts, which both must read alike."""
    expected = classifier.tokenize(texts, pairs, on_event=on_event)
    found = exported.tokenize(texts, pairs)
    for place in range(len(texts)):
        if not (
            np.array_equal(expected[place], found[place])
            and expected.num_tokens[place] == found.num_tokens[place]
            and expected.truncated[place] == found.truncated[place]
        ):
            raise RunError(
                f"the exported tokenizer reads {texts[place][:60]!r} as "
                f"{found[place][:8].tolist()} ..., the model as {expected[place][:8].tolist()} ...",
                expected="the same tokens of every text",
                remedy="predict with the run itself: lasttoken predict RUN INPUT",
            )
    return expected


def _probes(classifier: TextClassifier, checked: CheckTexts) -> tuple[list[str], list[str] | None]:
    """Return texts, and second ones, that are easily misread or must be cut."""
    loaded = classifier.loaded_
    special = [str(token) for token in loaded.tokenizer.all_special_tokens]
    some = " ".join(checked.texts[:50]) or "a"
    # Enough characters for several windows, where a token has no more than 8 of them.
    wanted = min(_LONGEST_PROBE, 20 * loaded.record.reading.max_length)
    long = (some + " ") * (wanted // (len(some) + 1) + 1)
    texts = [*_PROBES, *special, *(f"{some[:40]} {token}" for token in special), long[:wanted]]
    return texts, None if checked.pairs is None else list(reversed(texts))


def _alone(exported: LightClassifier, texts: TokenizedTexts, count: int) -> NDArray[np.float64]:
    """Return scores of the first texts, each answered alone."""
    logits = [exported.predict_logits(texts.take(np.array([place]))) for place in range(count)]
    return exported.probs(np.concatenate(logits))


def _difference_of_probes(
    classifier: TextClassifier, exported: LightClassifier, probes: TokenizedTexts, size: float
) -> float | None:
    """Return the largest difference of a score of those that are not too long; None if all are."""
    short = probes.take(np.flatnonzero(probes.lengths <= _LONGEST_ANSWERED))
    if not len(short):
        return None
    expected = classifier.probs(classifier.predict_logits(short))
    found = exported.probs(exported.predict_logits(short))
    return float(np.abs(expected - found).max()) / size


@dataclass(frozen=True)
class _Accuracy:
    """A share of texts answered rightly, with its 95 % interval; None of numbers."""

    share: float | None = None
    interval: Interval | None = None


def _accuracy(right: NDArray[np.bool_]) -> _Accuracy:
    return _Accuracy(float(right.mean()), wilson(int(right.sum()), len(right)))


def _equal(decisions: NDArray[Any], others: NDArray[Any]) -> NDArray[np.bool_]:
    """Return of which texts the decisions are the same, (N,); of sets, whole ones."""
    equal = np.asarray(decisions) == np.asarray(others)
    return np.asarray(equal if equal.ndim == 1 else equal.all(axis=1))


def _relative_difference(logits: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    return float(np.abs(logits - found).max() / max(1.0, float(np.abs(logits).max())))


def _milliseconds(
    answer: Callable[[TokenizedTexts], NDArray[np.float32]], texts: Sequence[TokenizedTexts]
) -> float:
    seconds = []
    answer(texts[0])  # the first call makes buffers
    for text in texts:
        start = time.perf_counter()
        answer(text)
        seconds.append(time.perf_counter() - start)
    return 1_000 * statistics.median(seconds)
