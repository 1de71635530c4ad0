"""`lasttoken predict`: texts in; labels and probabilities beside the input's own columns out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from lasttoken.config import PredictConfig
from lasttoken.data.columns import choose_columns
from lasttoken.data.readers import RowReader, iter_rows
from lasttoken.data.writers import open_writer
from lasttoken.errors import DatasetError
from lasttoken.estimator import TextClassifier
from lasttoken.events import EventCallback, Note, Progress
from lasttoken.model.device import resolve_device, resolve_precision
from lasttoken.model.folder import ModelRecord
from lasttoken.model.location import model_folder
from lasttoken.runs.answers import Answers, AnswerStore
from lasttoken.runs.facts import weights_sha256
from lasttoken.training.preparation import tell_reading_path

# Texts classified, and kept, at a time: some seconds of work on two cores.
TEXTS_PER_CHUNK = 2_000

_COLUMNS = ("predicted_label", "predicted_probability")
_LAST_COLUMNS = ("num_tokens", "truncated")


@dataclass(frozen=True)
class PredictOutcome:
    """What a prediction command did.

    Attributes:
        num_texts: texts classified.
        num_truncated: texts that were cut at the model's limit.
        num_found: texts whose answers an interrupted attempt had left.
    """

    num_texts: int
    num_truncated: int
    num_found: int


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
    text_column = _text_column(config, reader, classifier.loaded_.record, on_event)
    reader.require(text_column)
    labels = classifier.loaded_.classifier.labels.labels
    added = (*_COLUMNS, *(f"probability_{label}" for label in labels), *_LAST_COLUMNS)
    clashes = [column for column in added if column in reader.columns]
    if clashes:
        raise DatasetError(
            f"{config.input}: has a column {clashes[0]!r} of its own",
            expected="none of the columns that predict appends: " + ", ".join(added[:4]) + " ...",
            remedy=f"rename column {clashes[0]!r}",
        )
    store = AnswerStore(config.output, _context(classifier) if config.output else {})
    num_texts = num_truncated = num_found = 0
    with open_writer(
        config.output, (*reader.columns, *added), overwrite=config.overwrite
    ) as writer:
        for rows in _chunks(row for _, row in reader):
            texts = classifier.tokenize([str(row[text_column]) for row in rows], on_event=on_event)
            answers = store.find(texts)
            if answers is None:
                probs = classifier.probs(classifier.predict_logits(texts, on_event=on_event))
                answers = Answers(probs, texts.num_tokens, texts.truncated)
                store.keep(texts, answers)
            else:
                num_found += len(rows)
            columns = _columns(answers, labels)
            writer.write([{**row, **added} for row, added in zip(rows, columns, strict=True)])
            num_texts += len(rows)
            num_truncated += int(answers.truncated.sum())
            on_event(Progress("write", num_texts, None, "rows"))
        on_event(Progress("write", num_texts, num_texts, "rows"))
    store.clear()
    if num_found:
        text = f"{num_found:,} texts were classified before the interruption, and not again"
        on_event(Note(text))
    return PredictOutcome(num_texts, num_truncated, num_found)


def _text_column(
    config: PredictConfig, reader: RowReader, record: ModelRecord, on_event: EventCallback
) -> str:
    """Return the column given, else that of training if it is there, else a guess."""
    known = record.text_column if record.text_column in reader.columns else None
    return choose_columns(
        reader.columns,
        reader.sample,
        config.text_column or known,
        need_label=False,
        source=reader.name,
        on_event=on_event,
    ).text


def _context(classifier: TextClassifier) -> dict[str, str]:
    """Return what decides answers beside the texts."""
    device = resolve_device(classifier.device)
    model = classifier.loaded_.classifier
    return {
        "weights": weights_sha256(model.hf_model),
        "precision": resolve_precision(classifier.precision, device),
        "device": str(device),
        "reading_path": model.proof.path,
    }


def _columns(answers: Answers, labels: Sequence[str]) -> list[dict[str, Any]]:
    """Return the added columns of each text."""
    best = answers.probs.argmax(axis=1)
    return [
        {
            "predicted_label": labels[best[row]],
            "predicted_probability": float(probs[best[row]]),
            **{f"probability_{name}": float(p) for name, p in zip(labels, probs, strict=True)},
            "num_tokens": int(answers.num_tokens[row]),
            "truncated": bool(answers.truncated[row]),
        }
        for row, probs in enumerate(answers.probs)
    ]


def _chunks(rows: Iterator[dict[str, str | None]]) -> Iterator[list[dict[str, str | None]]]:
    while chunk := list(islice(rows, TEXTS_PER_CHUNK)):
        yield chunk
