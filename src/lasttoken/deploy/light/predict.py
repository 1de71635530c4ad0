"""`lasttoken predict EXPORTED INPUT`: the same columns as with a run, without torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from lasttoken.config import PredictConfig
from lasttoken.data.files import STDIN, find_path
from lasttoken.data.readers import iter_rows
from lasttoken.data.writers import open_writer
from lasttoken.deploy.light.classifier import LightClassifier
from lasttoken.errors import ConfigError
from lasttoken.events import EventCallback, Note, Progress
from lasttoken.runs.answer_columns import answer_column_names, answer_columns
from lasttoken.runs.asked import abstaining_threshold, check_flags, refuse_clashes, text_columns

# Texts classified, and written, at a time.
TEXTS_PER_CHUNK = 2_000


@dataclass(frozen=True)
class LightOutcome:
    """What a prediction command did.

    Attributes:
        num_texts: texts classified.
        num_truncated: texts that were cut at the model's limit.
        num_abstained: texts that are left to a person; None where nobody asked.
    """

    num_texts: int
    num_truncated: int
    num_abstained: int | None


def run_light_prediction(config: PredictConfig, *, on_event: EventCallback) -> LightOutcome:
    """Classify a file of texts chunk by chunk with an exported model; rows keep their order.

    Raises:
        LastTokenError: the exported folder, the input or the output is not as described, or a flag
            has no meaning for an exported model; nothing is left under the output's name.
    """
    _refuse_flags(config)
    if config.input != STDIN:
        find_path(config.input)
    reader = iter_rows(
        config.input,
        format=config.format,
        encoding=config.encoding,
        skip_bad_rows=config.skip_bad_rows,
        on_event=on_event,
    )
    classifier = LightClassifier.from_folder(config.run)
    record = classifier.record
    on_event(Note(f"an exported model ({record.export_format}) of {record.model or 'a folder'}"))
    columns = text_columns(config, reader, record, on_event)
    reader.require(*columns)
    check_flags(config, record)
    threshold = abstaining_threshold(config, record, on_event)
    reads_windows = record.reading.window_length is not None
    last = [
        "num_tokens",
        "truncated",
        *["num_windows"] * reads_windows,
        *["abstained"] * (threshold is not None),
    ]
    added = (*answer_column_names(record), *last)
    refuse_clashes(config, reader, added)
    # The graph contains the temperature; times it, logits are what training left.
    temperature = record.temperature if config.uncalibrated else 1.0
    num_texts = num_truncated = num_abstained = 0
    with open_writer(
        config.output, (*reader.columns, *added), overwrite=config.overwrite
    ) as writer:
        for rows in _chunks(row for _, row in reader):
            members = [[str(row[column]) for row in rows] for column in columns]
            texts = classifier.tokenize(*members, on_event=on_event)
            logits = classifier.predict_logits(texts, on_event=on_event) * temperature
            probs = classifier.probs(logits.astype(np.float32))
            answered = answer_columns(record, probs, classifier.decide(probs))
            for place, row in enumerate(answered):
                values: dict[str, Any] = {
                    "num_tokens": int(texts.num_tokens[place]),
                    "truncated": bool(texts.truncated[place]),
                    "num_windows": int(texts.num_windows[place]),
                }
                if threshold is not None:
                    values["abstained"] = row["predicted_probability"] < threshold
                    num_abstained += values["abstained"]
                row |= {name: values[name] for name in last}
            writer.write([{**row, **more} for row, more in zip(rows, answered, strict=True)])
            num_texts += len(rows)
            num_truncated += int(texts.truncated.sum())
            on_event(Progress("write", num_texts, None, "rows"))
        on_event(Progress("write", num_texts, num_texts, "rows"))
    return LightOutcome(num_texts, num_truncated, None if threshold is None else num_abstained)


def _refuse_flags(config: PredictConfig) -> None:
    """Refuse flags that choose what an export has settled.

    Raises:
        ConfigError: one was given.
    """
    for flag, value, settled in (
        ("--precision", config.precision, ("auto",)),
        ("--device", config.device, ("auto", "cpu")),
    ):
        if value not in settled:
            raise ConfigError(
                f"{flag} {value} with an exported model ({Path(config.run).name})",
                expected="the precision it was exported with, on the CPU",
                remedy=f"leave {flag} out, or predict with the run itself",
            )


def _chunks(rows: Iterator[dict[str, str | None]]) -> Iterator[list[dict[str, str | None]]]:
    while chunk := list(islice(rows, TEXTS_PER_CHUNK)):
        yield chunk
