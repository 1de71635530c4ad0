"""`lasttoken predict`: texts in; labels and probabilities beside the input's own columns out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from lasttoken.config import PredictConfig
from lasttoken.data.columns import choose_columns
from lasttoken.data.labels import LabelSpec
from lasttoken.data.readers import RowReader, iter_rows
from lasttoken.data.writers import open_writer
from lasttoken.errors import ConfigError, DatasetError
from lasttoken.estimator import TextClassifier
from lasttoken.evaluation.abstaining import choose_level
from lasttoken.evaluation.decisions import Decisions
from lasttoken.events import EventCallback, Note, Progress
from lasttoken.inference.predictor import check_pairs_fit
from lasttoken.model.device import resolve_device, resolve_precision
from lasttoken.model.location import model_folder
from lasttoken.model.record import ModelRecord
from lasttoken.runs.answer_columns import (
    answer_column_names,
    answer_columns,
    refuse_other_kinds,
)
from lasttoken.runs.answers import Answers, AnswerStore
from lasttoken.runs.facts import weights_sha256
from lasttoken.training.preparation import tell_reading_path

# Texts classified, and kept, at a time: some seconds of work on two cores.
TEXTS_PER_CHUNK = 2_000

_LAST_COLUMNS = ("num_tokens", "truncated")
_NUM_WINDOWS = "num_windows"  # only of a model that reads long texts in windows
_ABSTAINED = "abstained"  # only where a threshold was asked for


@dataclass(frozen=True)
class PredictOutcome:
    """What a prediction command did.

    Attributes:
        num_texts: texts classified.
        num_truncated: texts that were cut at the model's limit.
        num_found: texts whose answers an interrupted attempt had left.
        num_abstained: texts that are left to a person; None where nobody asked.
    """

    num_texts: int
    num_truncated: int
    num_found: int
    num_abstained: int | None


def run_prediction(config: PredictConfig, *, on_event: EventCallback) -> PredictOutcome:
    """Classify a file of texts chunk by chunk; rows keep their order.

    With an output file, what an interrupted attempt has answered is not computed again.

    Raises:
        LastTokenError: the run, the input or the output is not as described; nothing is left
            under the output's name.
    """
    model_folder(config.run)  # told before a large input is opened
    reader = iter_rows(
        config.input,
        format=config.format,
        encoding=config.encoding,
        skip_bad_rows=config.skip_bad_rows,
        on_event=on_event,
    )
    classifier = TextClassifier.from_pretrained(
        config.run, precision=config.precision, device=config.device
    )
    tell_reading_path(classifier.loaded_, on_event)
    columns = _text_columns(config, reader, classifier.loaded_.record, on_event)
    reader.require(*columns)
    labels = classifier.loaded_.classifier.labels
    _check_flags(config, labels)
    threshold = _threshold(config, classifier.loaded_.record, on_event)
    reads_windows = classifier.loaded_.record.reading.window_length is not None
    last = _LAST_COLUMNS if not reads_windows else (*_LAST_COLUMNS, _NUM_WINDOWS)
    last = last if threshold is None else (*last, _ABSTAINED)
    added = (*answer_column_names(labels), *last)
    clashes = [column for column in added if column in reader.columns]
    if clashes:
        raise DatasetError(
            f"{config.input}: has a column {clashes[0]!r} of its own",
            expected="none of the columns that predict appends: " + ", ".join(added[:4]) + " ...",
            remedy=f"rename column {clashes[0]!r}",
        )
    # The head contains the temperature; times it, logits are what training left.
    temperature = classifier.loaded_.record.temperature if config.uncalibrated else 1.0
    context = _context(classifier, temperature) if config.output else {}
    store = AnswerStore(config.output, context)
    num_texts = num_truncated = num_found = num_abstained = 0
    with open_writer(
        config.output, (*reader.columns, *added), overwrite=config.overwrite
    ) as writer:
        for rows in _chunks(row for _, row in reader):
            members = [[str(row[column]) for row in rows] for column in columns]
            texts = classifier.tokenize(*members, on_event=on_event)
            answers = store.find(texts)
            if answers is None:
                logits = classifier.predict_logits(texts, on_event=on_event) * temperature
                probs = classifier.probs(logits.astype(np.float32))
                answers = Answers(probs, texts.num_tokens, texts.truncated)
                store.keep(texts, answers)
            else:
                num_found += len(rows)
            answered = _columns(answers, classifier, threshold)
            if reads_windows:
                for row, number in zip(answered, texts.num_windows.tolist(), strict=True):
                    row[_NUM_WINDOWS] = number
            num_abstained += sum(bool(row.get(_ABSTAINED)) for row in answered)
            writer.write([{**row, **more} for row, more in zip(rows, answered, strict=True)])
            num_texts += len(rows)
            num_truncated += int(answers.truncated.sum())
            on_event(Progress("write", num_texts, None, "rows"))
        on_event(Progress("write", num_texts, num_texts, "rows"))
    store.clear()
    if num_found:
        text = f"{num_found:,} texts were classified before the interruption, and not again"
        on_event(Note(text))
    return PredictOutcome(
        num_texts, num_truncated, num_found, None if threshold is None else num_abstained
    )


def _text_columns(
    config: PredictConfig, reader: RowReader, record: ModelRecord, on_event: EventCallback
) -> tuple[str, ...]:
    """Return the columns of the text and, if there is one, of the second text.

    The one given, else that of training; the text's, if that is not there, is guessed.

    Raises:
        DatasetError: no such column, or the model was not trained on texts that come like this.
    """
    known = record.text_column if record.text_column in reader.columns else None
    chosen = choose_columns(
        reader.columns,
        reader.sample,
        config.text_column or known,
        None,
        config.text_pair_column or record.text_pair_column,
        need_label=False,
        source=reader.name,
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


def _context(classifier: TextClassifier, temperature: float) -> dict[str, str]:
    """Return what decides answers beside the texts."""
    device = resolve_device(classifier.device)
    model = classifier.loaded_.classifier
    return {
        "weights": weights_sha256(model.hf_model),
        "precision": resolve_precision(classifier.precision, device),
        "device": str(device),
        "reading_path": model.proof.path,
        "temperature": repr(temperature),
    }


def _columns(
    answers: Answers, classifier: TextClassifier, threshold: float | None
) -> list[dict[str, Any]]:
    """Return the added columns of each text."""
    labels = classifier.loaded_.classifier.labels
    columns = answer_columns(labels, answers.probs, classifier.decide(answers.probs))
    return [
        {
            **row,
            "num_tokens": int(answers.num_tokens[place]),
            "truncated": bool(answers.truncated[place]),
            **({} if threshold is None else {_ABSTAINED: row["predicted_probability"] < threshold}),
        }
        for place, row in enumerate(columns)
    ]


def _chunks(rows: Iterator[dict[str, str | None]]) -> Iterator[list[dict[str, str | None]]]:
    while chunk := list(islice(rows, TEXTS_PER_CHUNK)):
        yield chunk
