"""`lasttoken predict`: texts in; labels and probabilities beside the input's own columns out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from lasttoken.config import PredictConfig
from lasttoken.data.columns import choose_columns
from lasttoken.data.readers import RowReader, iter_rows
from lasttoken.data.writers import open_writer
from lasttoken.errors import DatasetError
from lasttoken.estimator import TEXTS_PER_CHUNK, TextClassifier
from lasttoken.events import EventCallback, Progress
from lasttoken.model.folder import ModelRecord
from lasttoken.model.location import model_folder
from lasttoken.training.preparation import tell_reading_path

_COLUMNS = ("predicted_label", "predicted_probability")
_LAST_COLUMNS = ("num_tokens", "truncated")


@dataclass(frozen=True)
class PredictOutcome:
    """What a prediction command did.

    Attributes:
        num_texts: texts classified.
        num_truncated: texts that were cut at the model's limit.
    """

    num_texts: int
    num_truncated: int


def run_prediction(config: PredictConfig, *, on_event: EventCallback) -> PredictOutcome:
    """Classify a file of texts chunk by chunk; rows keep their order.

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
    num_texts = num_truncated = 0
    with open_writer(
        config.output, (*reader.columns, *added), overwrite=config.overwrite
    ) as writer:
        for rows in _chunks(row for _, row in reader):
            results = _classify(classifier, [str(row[text_column]) for row in rows], on_event)
            writer.write([{**row, **result} for row, result in zip(rows, results, strict=True)])
            num_texts += len(rows)
            num_truncated += sum(bool(result["truncated"]) for result in results)
            on_event(Progress("write", num_texts, None, "rows"))
        on_event(Progress("write", num_texts, num_texts, "rows"))
    return PredictOutcome(num_texts, num_truncated)


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


def _classify(
    classifier: TextClassifier, texts: list[str], on_event: EventCallback
) -> list[dict[str, Any]]:
    """Return the added columns of each text."""
    tokenized = classifier.tokenize(texts, on_event=on_event)
    probs = classifier.probs(classifier.predict_logits(tokenized, on_event=on_event))
    labels = classifier.loaded_.classifier.labels.labels
    best = probs.argmax(axis=1)
    return [
        {
            "predicted_label": labels[best[row]],
            "predicted_probability": float(probs[row, best[row]]),
            **{f"probability_{name}": float(p) for name, p in zip(labels, probs[row], strict=True)},
            "num_tokens": int(tokenized.num_tokens[row]),
            "truncated": bool(tokenized.truncated[row]),
        }
        for row in range(len(texts))
    ]


def _chunks(rows: Iterator[dict[str, str | None]]) -> Iterator[list[dict[str, str | None]]]:
    while chunk := list(islice(rows, TEXTS_PER_CHUNK)):
        yield chunk
