"""`lasttoken predict`: texts in; labels and probabilities beside the input's own columns out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from lasttoken.config import PredictConfig
from lasttoken.data.readers import iter_rows
from lasttoken.data.writers import open_writer
from lasttoken.estimator import TextClassifier
from lasttoken.events import EventCallback, Note, Progress
from lasttoken.model.device import resolve_device, resolve_precision
from lasttoken.model.location import model_folder
from lasttoken.runs.answer_columns import answer_column_names, answer_columns
from lasttoken.runs.answers import Answers, AnswerStore
from lasttoken.runs.asked import abstaining_threshold, check_flags, refuse_clashes, text_columns
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
    columns = text_columns(config, reader, classifier.loaded_.record, on_event)
    reader.require(*columns)
    labels = classifier.loaded_.classifier.labels
    check_flags(config, labels)
    threshold = abstaining_threshold(config, classifier.loaded_.record, on_event)
    reads_windows = classifier.loaded_.record.reading.window_length is not None
    last = _LAST_COLUMNS if not reads_windows else (*_LAST_COLUMNS, _NUM_WINDOWS)
    last = last if threshold is None else (*last, _ABSTAINED)
    added = (*answer_column_names(labels), *last)
    refuse_clashes(config, reader, added)
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
