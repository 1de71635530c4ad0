"""Rows of a table in, the same rows with answers out: what one process does, and every worker.

Whether a run answers or an exported model is decided where it is opened; nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lasttoken.config import PredictConfig
from lasttoken.data.rows import Row
from lasttoken.events import EventCallback, ignore
from lasttoken.model.tokens import TokenizedTexts
from lasttoken.runs.answer_columns import LabelNames, answer_column_kinds, answer_columns
from lasttoken.runs.answers import Answers
from lasttoken.runs.asked import (
    PredictionRecord,
    abstaining_threshold,
    check_flags,
    refuse_clashes,
    text_columns,
)

_LAST_KINDS: Mapping[str, type] = {"num_tokens": int, "truncated": bool}
_NUM_WINDOWS = "num_windows"  # only of a model that reads long texts in windows
ABSTAINED = "abstained"  # only where a threshold was asked for


class AnsweringModel(Protocol):
    """A model that answers, exported or not; see `TextClassifier`."""

    def tokenize(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        on_event: EventCallback = ignore,
    ) -> TokenizedTexts:
        """Return N texts as the model reads them."""

    def predict_logits(
        self, texts: TokenizedTexts, *, on_event: EventCallback = ignore
    ) -> NDArray[np.float32]:
        """Return logits (N, C)."""

    def probs(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return probabilities (N, C) of logits, or numbers."""

    def decide(self, probs: NDArray[np.float64]) -> NDArray[Any]:
        """Return decisions about probabilities."""


@dataclass(frozen=True)
class OpenedModel:
    """A model that answers, and what is known of it.

    Attributes:
        model: itself.
        record: what it says of prediction.
        labels: its labels.
        tokenizer: the model's; not for two threads at a time.
        context: what decides answers beside the texts: weights, precision, device.
    """

    model: AnsweringModel
    record: PredictionRecord
    labels: LabelNames
    tokenizer: Any
    context: Mapping[str, str]


class ModelSettings(Protocol):
    """The settings that choose a model; `PredictConfig` has them, and `ServeConfig`."""

    @property
    def run(self) -> str:
        """Run folder, model folder or exported folder."""

    @property
    def precision(self) -> str:
        """Asked for."""

    @property
    def device(self) -> str:
        """Asked for."""


OpenModel = Callable[[ModelSettings, EventCallback], OpenedModel]


@dataclass(frozen=True)
class RowClassifier:
    """Appends what a model says of a text to the row that holds it.

    Attributes:
        opened: the model.
        text_columns: of the text and, if there is one, of the second text.
        columns: of the rows that are given back, the input's own first.
        kinds: the types of the appended columns.
        temperature: that logits are multiplied by: not 1 takes calibration out.
        threshold: the probability below which a text is left to a person; None if nobody asked.
    """

    opened: OpenedModel
    text_columns: tuple[str, ...]
    columns: tuple[str, ...]
    kinds: Mapping[str, type]
    temperature: float
    threshold: float | None

    @property
    def context(self) -> dict[str, str]:
        """Return what decides answers beside the texts."""
        return {**self.opened.context, "temperature": repr(self.temperature)}

    def tokenize(self, rows: Sequence[Row], *, on_event: EventCallback = ignore) -> TokenizedTexts:
        """Return the texts of N rows as the model reads them."""
        members = [[str(row[column]) for row in rows] for column in self.text_columns]
        return self.opened.model.tokenize(*members, on_event=on_event)

    def answer(self, texts: TokenizedTexts, *, on_event: EventCallback = ignore) -> Answers:
        """Return what the model says of N texts."""
        model = self.opened.model
        logits = model.predict_logits(texts, on_event=on_event) * self.temperature
        probs = model.probs(logits.astype(np.float32))
        return Answers(probs, texts.num_tokens, texts.truncated)

    def append(
        self, rows: Sequence[Row], texts: TokenizedTexts, answers: Answers
    ) -> list[dict[str, Any]]:
        """Return N rows with their answers behind their own columns."""
        decisions = self.opened.model.decide(answers.probs)
        decided = answer_columns(self.opened.labels, answers.probs, decisions)
        appended = []
        for place, (row, more) in enumerate(zip(rows, decided, strict=True)):
            more["num_tokens"] = int(answers.num_tokens[place])
            more["truncated"] = bool(answers.truncated[place])
            if _NUM_WINDOWS in self.kinds:
                more[_NUM_WINDOWS] = int(texts.num_windows[place])
            if self.threshold is not None:
                more[ABSTAINED] = more["predicted_probability"] < self.threshold
            appended.append({**row, **more})
        return appended


def make_row_classifier(
    opened: OpenedModel,
    config: PredictConfig,
    columns: Sequence[str],
    sample: Sequence[Row],
    name: str,
    *,
    on_event: EventCallback = ignore,
) -> RowClassifier:
    """Check that a model fits the rows and the settings.

    Args:
        opened: the model.
        config: the settings.
        columns: of the rows.
        sample: first rows, for a guess about the text's column.
        name: of the input, for messages.
        on_event: told guesses.

    Raises:
        LastTokenError: the columns or the settings are not as described.
    """
    record = opened.record
    chosen = text_columns(config, columns, sample, name, record, on_event)
    check_flags(config, opened.labels)
    threshold = abstaining_threshold(config, record, on_event)
    kinds = {**answer_column_kinds(opened.labels), **_LAST_KINDS}
    if record.reading.window_length is not None:
        kinds[_NUM_WINDOWS] = int
    if threshold is not None:
        kinds[ABSTAINED] = bool
    refuse_clashes(name, columns, tuple(kinds))
    # The head contains the temperature; times it, logits are what training left.
    temperature = record.temperature if config.uncalibrated else 1.0
    return RowClassifier(opened, chosen, (*columns, *kinds), kinds, temperature, threshold)
