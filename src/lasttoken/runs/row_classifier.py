"""Rows of a table in, the same rows with answers out: what one process does, and every worker."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lasttoken.config import PredictConfig
from lasttoken.data.columns import choose_columns
from lasttoken.data.labels import LabelSpec
from lasttoken.data.rows import Row
from lasttoken.errors import ConfigError, DatasetError
from lasttoken.estimator import TextClassifier
from lasttoken.evaluation.abstaining import choose_level
from lasttoken.evaluation.decisions import Decisions
from lasttoken.events import EventCallback, Note, ignore
from lasttoken.inference.predictor import check_pairs_fit
from lasttoken.model.device import bound_kernel_caches
from lasttoken.model.record import ModelRecord
from lasttoken.model.tokens import TokenizedTexts
from lasttoken.runs.answer_columns import (
    answer_column_kinds,
    answer_columns,
    refuse_other_kinds,
)
from lasttoken.runs.answers import Answers
from lasttoken.training.preparation import tell_reading_path

_LAST_KINDS: Mapping[str, type] = {"num_tokens": int, "truncated": bool}
_NUM_WINDOWS = "num_windows"  # only of a model that reads long texts in windows
ABSTAINED = "abstained"  # only where a threshold was asked for


@dataclass(frozen=True)
class RowClassifier:
    """Appends what a model says of a text to the row that holds it.

    Attributes:
        classifier: the model.
        text_columns: of the text and, if there is one, of the second text.
        columns: of the rows that are given back, the input's own first.
        kinds: the types of the appended columns.
        temperature: that logits are multiplied by: not 1 takes calibration out.
        threshold: the probability below which a text is left to a person; None if nobody asked.
    """

    classifier: TextClassifier
    text_columns: tuple[str, ...]
    columns: tuple[str, ...]
    kinds: Mapping[str, type]
    temperature: float
    threshold: float | None

    def tokenize(self, rows: Sequence[Row], *, on_event: EventCallback = ignore) -> TokenizedTexts:
        """Return the texts of N rows as the model reads them."""
        members = [[str(row[column]) for row in rows] for column in self.text_columns]
        return self.classifier.tokenize(*members, on_event=on_event)

    def answer(self, texts: TokenizedTexts, *, on_event: EventCallback = ignore) -> Answers:
        """Return what the model says of N texts."""
        logits = self.classifier.predict_logits(texts, on_event=on_event) * self.temperature
        probs = self.classifier.probs(logits.astype(np.float32))
        return Answers(probs, texts.num_tokens, texts.truncated)

    def append(
        self, rows: Sequence[Row], texts: TokenizedTexts, answers: Answers
    ) -> list[dict[str, Any]]:
        """Return N rows with their answers behind their own columns."""
        labels = self.classifier.loaded_.classifier.labels
        decided = answer_columns(labels, answers.probs, self.classifier.decide(answers.probs))
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


def open_row_classifier(
    config: PredictConfig,
    columns: Sequence[str],
    sample: Sequence[Row],
    name: str,
    *,
    on_event: EventCallback = ignore,
) -> RowClassifier:
    """Load a model, and check that it fits the rows and the settings.

    Args:
        config: the settings.
        columns: of the rows.
        sample: first rows, for a guess about the text's column.
        name: of the input, for messages.
        on_event: told guesses and how the model reads.

    Raises:
        LastTokenError: the run, the columns or the settings are not as described.
    """
    bound_kernel_caches()
    classifier = TextClassifier.from_pretrained(
        config.run, precision=config.precision, device=config.device
    )
    record, labels = classifier.loaded_.record, classifier.loaded_.classifier.labels
    tell_reading_path(classifier.loaded_, on_event)
    text_columns = _text_columns(config, columns, sample, name, record, on_event)
    _check_flags(config, labels)
    threshold = _threshold(config, record, on_event)
    kinds = {**answer_column_kinds(labels), **_LAST_KINDS}
    if record.reading.window_length is not None:
        kinds[_NUM_WINDOWS] = int
    if threshold is not None:
        kinds[ABSTAINED] = bool
    clashes = [column for column in kinds if column in columns]
    if clashes:
        raise DatasetError(
            f"{name}: has a column {clashes[0]!r} of its own",
            expected="none of the columns that predict appends: "
            + ", ".join(list(kinds)[:4])
            + " ...",
            remedy=f"rename column {clashes[0]!r}",
        )
    # The head contains the temperature; times it, logits are what training left.
    temperature = record.temperature if config.uncalibrated else 1.0
    return RowClassifier(
        classifier, text_columns, (*columns, *kinds), kinds, temperature, threshold
    )


def _text_columns(
    config: PredictConfig,
    columns: Sequence[str],
    sample: Sequence[Row],
    name: str,
    record: ModelRecord,
    on_event: EventCallback,
) -> tuple[str, ...]:
    """Return the columns of the text and, if there is one, of the second text.

    The one given, else that of training; the text's, if that is not there, is guessed.

    Raises:
        DatasetError: no such column, or the model was not trained on texts that come like this.
    """
    known = record.text_column if record.text_column in columns else None
    chosen = choose_columns(
        columns,
        sample,
        config.text_column or known,
        None,
        config.text_pair_column or record.text_pair_column,
        need_label=False,
        source=name,
        on_event=on_event,
    )
    check_pairs_fit(record.reading, has_pairs=chosen.pair is not None)
    return (chosen.text,) if chosen.pair is None else (chosen.text, chosen.pair)


def _check_flags(config: PredictConfig, labels: LabelSpec) -> None:
    """Check that the flags have a meaning for the model's task.

    Raises:
        ConfigError: one has none.
    """
    for flag, value in (
        ("--abstain-below", config.abstain_below),
        ("--target-accuracy", config.target_accuracy),
    ):
        if value is not None:
            refuse_other_kinds(labels, f"{flag} {value}", ("single_label", "ordinal"))
    if config.uncalibrated:  # thresholds of sets are for calibrated probabilities
        refuse_other_kinds(labels, "--uncalibrated", ("single_label", "ordinal"))


def _threshold(config: PredictConfig, record: ModelRecord, on_event: EventCallback) -> float | None:
    """Return the probability below which a text is left to a person; None if nobody asked.

    Raises:
        ConfigError: no threshold promises the wished accuracy.
    """
    wished = config.target_accuracy
    if wished is None:
        return config.abstain_below
    found = Decisions.from_record(record.temperature, record.coverage_levels, record.thresholds)
    level = choose_level(found.coverage_levels, wished)
    if level is None:
        most = max((each.promised for each in found.coverage_levels), default=None)
        known = (
            "no threshold at all" if most is None else f"at most {math.floor(1000 * most) / 1000}"
        )
        raise ConfigError(
            f"--target-accuracy {wished}: the model's validation examples promise {known}",
            expected="an accuracy that a threshold was found for in training",
            remedy="--abstain-below P, or train with more validation examples"
            if most is None
            else f"--target-accuracy {math.floor(1000 * most) / 1000}, or train with more "
            "validation examples",
        )
    on_event(
        Note(
            f"target accuracy {wished}: texts below {level.threshold:.4f} are left to a person; "
            f"{level.coverage:.1%} of the validation examples were answered, "
            f"{level.num_right / level.num_answered:.1%} of these rightly"
        )
    )
    return level.threshold
