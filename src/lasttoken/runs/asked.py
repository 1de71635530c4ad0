"""What `lasttoken predict` was asked for, checked against the input and the model; no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

from lasttoken.config import PredictConfig
from lasttoken.data.columns import choose_columns
from lasttoken.data.rows import Row
from lasttoken.errors import ConfigError, DatasetError
from lasttoken.evaluation.abstaining import choose_level
from lasttoken.evaluation.decisions import Decisions
from lasttoken.events import EventCallback, Note
from lasttoken.model.reading import check_pairs_fit
from lasttoken.model.tokens import ReadingRecord
from lasttoken.runs.answer_columns import LabelNames, refuse_other_kinds


class PredictionRecord(ReadingRecord, Protocol):
    """What a model's record, exported or not, says about prediction; see `ModelRecord`."""

    @property
    def text_column(self) -> str | None:
        """Column of the training data that held the text."""

    @property
    def text_pair_column(self) -> str | None:
        """Likewise, of a second text."""

    @property
    def temperature(self) -> float:
        """By which logits were divided."""

    @property
    def coverage_levels(self) -> Sequence[Mapping[str, float]]:
        """What thresholds of confidence give."""

    @property
    def thresholds(self) -> Mapping[str, float | None]:
        """Label to the probability of its largest F1."""


def text_columns(
    config: PredictConfig,
    columns: Sequence[str],
    sample: Sequence[Row],
    name: str,
    record: PredictionRecord,
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


def check_flags(config: PredictConfig, labels: LabelNames) -> None:
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


def abstaining_threshold(
    config: PredictConfig, record: PredictionRecord, on_event: EventCallback
) -> float | None:
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


def refuse_clashes(name: str, columns: Sequence[str], added: Sequence[str]) -> None:
    """Refuse an input that has a column which predict would append.

    Raises:
        DatasetError: it does.
    """
    clashes = [column for column in added if column in columns]
    if clashes:
        raise DatasetError(
            f"{name}: has a column {clashes[0]!r} of its own",
            expected="none of the columns that predict appends: " + ", ".join(added[:4]) + " ...",
            remedy=f"rename column {clashes[0]!r}",
        )
