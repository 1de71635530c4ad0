"""The same texts laid before one classifier in every way, and what changes.

Texts alone, through the stock model, are what all other answers are compared with. Where labels are
known, accuracy under each way tells which one the classifier was trained with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lasttoken.data.labels import THRESHOLD
from lasttoken.doctor.arrangements import (
    ALONE,
    ALWAYS,
    LEFT,
    RIGHT,
    USUAL_LENGTHS,
    Arrangement,
    lay,
    own_arrangement,
)
from lasttoken.doctor.folder_facts import FolderFacts, read_facts
from lasttoken.errors import BackboneError, DatasetError
from lasttoken.evaluation.intervals import CONFIDENCE, Interval, wilson
from lasttoken.evaluation.paired import RightsDifference, rights_difference
from lasttoken.events import EventCallback, Progress
from lasttoken.inference.prediction import budget_batches
from lasttoken.model.batch import pack_examples
from lasttoken.model.folder import LoadedModel, load_for_prediction
from lasttoken.model.stock import StockModel, load_stock

# Logits that differ by more than this x max(1, largest logit) are other answers. Rounding of fp32
# in another order of sums stays below 1e-4 (the proof at load uses that); padding that is read does
# not.
TOLERANCE = 1e-3

PACKED = "packed"  # by lasttoken; everything else is by the stock model
_NUM_END_OF_TEXT = 8  # texts that are given the marker

Logits = NDArray[np.float32]


@dataclass(frozen=True)
class Score:
    """How often the answers of one arrangement are right.

    Attributes:
        num_correct: examples given their label.
        accuracy: their share.
        interval: Wilson's, of 95 %.
        over_alone: the accuracy minus that of texts alone, paired.
    """

    num_correct: int
    accuracy: float
    interval: Interval
    over_alone: RightsDifference


@dataclass(frozen=True)
class Answers:
    """What a classifier answers in one arrangement.

    Attributes:
        name: of the arrangement.
        title: in plain words.
        fault: why there are no answers; empty where there are.
        is_same: whether they are those of texts alone, but for rounding.
        num_other: texts that get another label than alone.
        largest_change: of a probability, 0 to 1; of a regression, of the number.
        score: None without labels.
        right: (N,) bool, which answers are right; None without labels.
    """

    name: str
    title: str
    fault: str = ""
    is_same: bool = False
    num_other: int = 0
    largest_change: float = 0.0
    score: Score | None = None
    right: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class EndOfText:
    """What becomes of texts that end in the end-of-text marker.

    Attributes:
        marker: the token's name.
        becomes_token: whether the tokenizer makes that token of its name inside a text.
        is_read_early: whether the stock head reads the token before it.
    """

    marker: str
    becomes_token: bool
    is_read_early: bool


@dataclass(frozen=True)
class Examination:
    """What was found out about a classifier.

    Attributes:
        folder: of the model.
        facts: what its files say.
        num_texts: texts that were read.
        longest: tokens of the longest of them.
        num_empty: texts left out because the tokenizer makes nothing of them.
        answers: by the name of the arrangement; "packed" is lasttoken's own.
        own: name of the arrangement that a pipeline with a batch size uses.
        batch_fault: why stock heads refuse several texts at once; empty if they do not. Where they
            do, all else was found out after they were told the tokenizer's padding.
        end_of_text: what becomes of the marker.
        majority: share of the commonest label; None without labels.
        lengths: fixed ones that were tried.
        token_ids: of the texts, by the folder's own tokenizer.
        packed_logits: (N, C), by lasttoken.
    """

    folder: Path
    facts: FolderFacts
    num_texts: int
    longest: int
    num_empty: int
    answers: dict[str, Answers]
    own: str
    batch_fault: str
    end_of_text: EndOfText
    majority: float | None
    lengths: tuple[int, ...]
    token_ids: list[list[int]]
    packed_logits: Logits


def examine(
    folder: Path,
    texts: Sequence[str],
    label_ids: NDArray[np.int64] | None,
    on_event: EventCallback,
    *,
    lengths: Sequence[int] = (),
) -> Examination:
    """Lay texts before a classifier in every way.

    Args:
        folder: a model folder, whoever made it.
        texts: N of them, in the order in which batches are made.
        label_ids: (N,) ids of their true labels in the model's order; None where they are unknown.
        on_event: hears progress.
        lengths: to which texts may have been padded, beside those that the folder names and, where
            labels can tell them apart, the usual ones.

    Raises:
        LastTokenError: the model cannot be loaded safely, or is no decoder with a trained head.
    """
    loaded = load_for_prediction(folder)
    stock = load_stock(folder, loaded)
    facts = read_facts(folder, stock, loaded)
    token_ids = stock.tokenize(texts)
    read = [place for place, ids in enumerate(token_ids) if ids]
    if not read:
        raise DatasetError(
            f"{len(texts):,} texts: the tokenizer makes no token of any of them",
            expected="a text with a letter in it",
            remedy="other texts",
        )
    token_ids = [token_ids[place] for place in read]
    truth = None if label_ids is None else label_ids[read]
    packed = _packed(loaded, token_ids)
    batch_fault = _let_batch(stock, token_ids)
    examiner = _Examiner(stock, loaded, token_ids, truth, on_event)
    usual = () if truth is None else USUAL_LENGTHS
    tried = {
        length
        for length in (*usual, *facts.saved_lengths, *lengths)
        if 1 < length <= stock.max_length
    }
    answers = {
        arrangement.name: examiner.answer(arrangement)
        for arrangement in (*ALWAYS, *_fixed(sorted(tried), examiner))
    }
    answers[PACKED] = examiner.judge(PACKED, "packed by lasttoken", packed)
    return Examination(
        folder,
        facts,
        len(token_ids),
        max(map(len, token_ids)),
        len(texts) - len(token_ids),
        answers,
        own_arrangement(facts.padding_side).name,
        batch_fault,
        _end_of_text(stock, loaded, token_ids),
        None if truth is None else float(np.bincount(truth).max() / len(truth)),
        tuple(sorted(tried)),
        token_ids,
        packed,
    )


def _fixed(lengths: Sequence[int], examiner: _Examiner) -> list[Arrangement]:
    """Return the arrangements to a fixed length of each side whose padding changes answers."""
    return [
        Arrangement(side.side, length=length)
        for side in (LEFT, RIGHT)
        if not examiner.answer(side).is_same and not examiner.answer(side).fault
        for length in lengths
    ]


def _let_batch(stock: StockModel, token_ids: list[list[int]]) -> str:
    """Tell a head that knows no padding what it is; return how it refused several texts before."""
    if stock.head_pad_id is not None:
        return ""
    two = [token_ids[0], token_ids[-1]]
    fault = ""
    try:
        for inputs in lay(two, RIGHT, fill_id=stock.fill_id, limit=stock.max_length):
            stock.logits(inputs)
    except ValueError as error:
        fault = str(error)
    stock.set_head_pad_id(stock.fill_id)
    return fault


class _Examiner:
    """Asks the stock model, and compares with what it says to texts alone."""

    def __init__(
        self,
        stock: StockModel,
        loaded: LoadedModel,
        token_ids: list[list[int]],
        truth: NDArray[np.int64] | None,
        on_event: EventCallback,
    ) -> None:
        self._stock = stock
        self._labels = loaded.classifier.labels
        self._token_ids = token_ids
        self._truth = truth
        self._on_event = on_event
        self._known: dict[str, Answers] = {}
        try:
            self._alone = self._logits(ALONE)
        except ValueError as error:
            raise BackboneError(
                f"transformers cannot classify a single text: {error}",
                expected="a folder with which a plain pipeline answers",
                remedy="save the model again with save_pretrained()",
            ) from error
        self._alone_right = self._right(self._alone)

    def answer(self, arrangement: Arrangement) -> Answers:
        """Return the answers in an arrangement; each is computed once."""
        if arrangement.name not in self._known:
            try:
                logits = self._alone if arrangement == ALONE else self._logits(arrangement)
                found = self.judge(arrangement.name, arrangement.title, logits)
            except ValueError as error:  # of the stock model: that is the answer
                found = Answers(arrangement.name, arrangement.title, fault=str(error))
            self._known[arrangement.name] = found
        return self._known[arrangement.name]

    def judge(self, name: str, title: str, logits: Logits) -> Answers:
        """Compare logits (N, C) with those of texts alone, and with the labels."""
        alone = self._alone
        reach = TOLERANCE * max(1.0, float(np.abs(alone).max()))
        probs, probs_alone = (self._probs(each) for each in (logits, alone))
        right = self._right(logits)
        score = None
        if right is not None and self._alone_right is not None:
            correct = int(right.sum())
            score = Score(
                correct,
                correct / len(right),
                wilson(correct, len(right)),
                rights_difference(right, self._alone_right, CONFIDENCE),
            )
        return Answers(
            name,
            title,
            is_same=bool(np.abs(logits - alone).max() <= reach),
            num_other=int(self._differ(probs, probs_alone).sum()),
            largest_change=float(np.abs(probs - probs_alone).max()),
            score=score,
            right=right,
        )

    def _logits(self, arrangement: Arrangement) -> Logits:
        stock, rows = self._stock, self._token_ids
        found: list[NDArray[np.float32]] = []
        for inputs in lay(rows, arrangement, fill_id=stock.fill_id, limit=stock.max_length):
            num_own = min(arrangement.batch_size, len(rows) - len(found) * arrangement.batch_size)
            found.append(stock.logits(inputs)[:num_own].numpy())
            done = min(len(rows), len(found) * arrangement.batch_size)
            self._on_event(Progress("examine", done, len(rows), "texts", arrangement.title))
        return np.concatenate(found)

    def _probs(self, logits: Logits) -> NDArray[np.float64]:
        return np.asarray(self._labels.probs(torch.from_numpy(logits)).double().numpy())

    def _differ(self, probs: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which texts are answered otherwise, (N,); sets by the threshold 0.5."""
        kind = self._labels.kind
        if kind == "regression":
            reach = TOLERANCE * max(1.0, float(np.abs(others).max()))
            return np.asarray(np.abs(probs - others)[:, 0] > reach)
        if kind == "multi_label":
            return np.asarray(((probs >= THRESHOLD) != (others >= THRESHOLD)).any(axis=1))
        return np.asarray(probs.argmax(axis=1) != others.argmax(axis=1))

    def _right(self, logits: Logits) -> NDArray[np.bool_] | None:
        if self._truth is None:
            return None
        return np.asarray(logits.argmax(axis=1) == self._truth)


def _packed(loaded: LoadedModel, token_ids: list[list[int]]) -> Logits:
    """Return the logits (N, C) of lasttoken's own path, fp32, on the same token ids."""
    classifier = loaded.classifier
    logits = np.zeros((len(token_ids), classifier.labels.num_logits), dtype=np.float32)
    with torch.inference_mode():
        for places in budget_batches([len(ids) for ids in token_ids]):
            batch = pack_examples([np.array(token_ids[place], np.int32) for place in places])
            logits[places] = classifier(**batch.to_inputs()).logits.float().numpy()
    return logits


def _end_of_text(stock: StockModel, loaded: LoadedModel, token_ids: list[list[int]]) -> EndOfText:
    """Find out whether a text that ends in the marker is read at its true end."""
    tokenizer = stock.tokenizer
    marker, marker_id = str(tokenizer.eos_token), int(tokenizer.eos_token_id)
    inside = tokenizer("a" + marker, add_special_tokens=False, verbose=False)["input_ids"]
    room = stock.max_length - 1
    ended = [[*ids[:room], marker_id] for ids in token_ids[:_NUM_END_OF_TEXT]]
    truly = _packed(loaded, ended)
    rows = lay(ended, ALONE, fill_id=stock.fill_id, limit=stock.max_length)
    read = np.concatenate([stock.logits(inputs).numpy() for inputs in rows])
    reach = TOLERANCE * max(1.0, float(np.abs(truly).max()))
    return EndOfText(marker, marker_id in inside, bool(np.abs(read - truly).max() > reach))
