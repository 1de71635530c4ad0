"""What a stock model answers in one arrangement, beside what it answers to texts alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax

from lasttoken.data.labels import THRESHOLD
from lasttoken.doctor.arrangements import ALONE, Arrangement, lay
from lasttoken.errors import BackboneError
from lasttoken.evaluation.calibration import fit_temperature
from lasttoken.evaluation.intervals import CONFIDENCE, Interval, wilson
from lasttoken.evaluation.metrics import log_losses
from lasttoken.evaluation.paired import RightsDifference, rights_difference
from lasttoken.events import EventCallback, Progress
from lasttoken.inference.prediction import budget_batches
from lasttoken.model.batch import pack_examples
from lasttoken.model.folder import LoadedModel
from lasttoken.model.stock import StockModel

# Logits that differ by more than this x max(1, largest logit) are other answers. Rounding of fp32
# in another order of sums stays below 1e-4 (the proof at load uses that); padding that is read does
# not.
TOLERANCE = 1e-3

Logits = NDArray[np.float32]


@dataclass(frozen=True)
class Score:
    """How often the answers of one arrangement are right.

    Attributes:
        num_correct: examples given their label.
        accuracy: their share.
        interval: Wilson's, of 95 %.
        over_alone: the accuracy minus that of texts alone, paired.
        log_loss: mean nats an example, after one temperature was fitted on these very examples:
            so it tells how well answers fit the labels, not how sure the model is of them.
    """

    num_correct: int
    accuracy: float
    interval: Interval
    over_alone: RightsDifference
    log_loss: float


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
        losses: (N,) nats, whose mean is the score's log loss; None without labels.
    """

    name: str
    title: str
    fault: str = ""
    is_same: bool = False
    num_other: int = 0
    largest_change: float = 0.0
    score: Score | None = None
    losses: NDArray[np.float64] | None = None


class Examiner:
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
        score, losses = self._score(logits)
        return Answers(
            name,
            title,
            is_same=bool(np.abs(logits - alone).max() <= reach),
            num_other=int(self._differ(probs, probs_alone).sum()),
            largest_change=float(np.abs(probs - probs_alone).max()),
            score=score,
            losses=losses,
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

    def _score(self, logits: Logits) -> tuple[Score | None, NDArray[np.float64] | None]:
        truth = self._truth
        if truth is None:
            return None, None
        right, alone_right = (each.argmax(axis=1) == truth for each in (logits, self._alone))
        probs = softmax(logits.astype(np.float64) / fit_temperature(logits, truth), axis=1)
        losses = log_losses(truth, probs)
        score = Score(
            int(right.sum()),
            float(right.mean()),
            wilson(int(right.sum()), len(right)),
            rights_difference(right, alone_right, CONFIDENCE),
            float(losses.mean()),
        )
        return score, losses


def packed_logits(loaded: LoadedModel, token_ids: list[list[int]]) -> Logits:
    """Return the logits (N, C) of lasttoken's own path, fp32, on the same token ids."""
    classifier = loaded.classifier
    logits = np.zeros((len(token_ids), classifier.labels.num_logits), dtype=np.float32)
    with torch.inference_mode():
        for places in budget_batches([len(ids) for ids in token_ids]):
            batch = pack_examples([np.array(token_ids[place], np.int32) for place in places])
            logits[places] = classifier(**batch.to_inputs()).logits.float().numpy()
    return logits
