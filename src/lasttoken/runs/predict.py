"""`lasttoken predict`: texts in; labels and probabilities beside the input's own columns out.

One path for every format and size: rows are read, classified and written chunk by chunk. Memory
holds a chunk; sorting by length happens inside one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from lasttoken.config import PredictConfig
from lasttoken.data.inputs import Inputs
from lasttoken.data.rows import Row
from lasttoken.data.writers import open_writer
from lasttoken.events import Event, EventCallback, Note, Progress
from lasttoken.runs.answers import AnswerStore
from lasttoken.runs.row_classifier import ABSTAINED, OpenModel, RowClassifier, make_row_classifier
from lasttoken.runs.shards import ShardRecord, open_shard

# Texts classified, and kept, at a time: some seconds of work on two cores. A chunk of long texts
# ends earlier, at so many characters.
TEXTS_PER_CHUNK = 2_000
CHARACTERS_PER_CHUNK = 1 << 23


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


def run_prediction(
    config: PredictConfig, open_model: OpenModel, *, on_event: EventCallback
) -> PredictOutcome:
    """Classify files of texts chunk by chunk; rows keep their order.

    With an output file, what an interrupted attempt has answered is not computed again.

    Args:
        config: what is asked for.
        open_model: opens a run or an exported model.
        on_event: told guesses and progress.

    Raises:
        LastTokenError: the run, the input or the output is not as described; nothing is left
            under the output's name.
    """
    shard = open_shard(config, on_event)
    inputs = Inputs(
        config.input,
        format=config.format,
        encoding=config.encoding,
        skip_bad_rows=config.skip_bad_rows,
        ranges=None if shard is None else shard.ranges(),
        on_event=on_event,
    )
    rows = make_row_classifier(
        open_model(config, on_event),
        config,
        inputs.columns,
        inputs.sample,
        inputs.name,
        on_event=on_event,
    )
    inputs.require(*rows.text_columns)
    context = rows.context if config.output else {}
    store = AnswerStore(config.output, context)
    record = ShardRecord(config, shard, context)
    num_rows = None if shard is None else shard.stop - shard.start
    progress = RowProgress(num_rows, inputs.share_read, on_event)
    outcome = PredictOutcome(0, 0, 0, None if rows.threshold is None else 0)
    with open_writer(
        config.output,
        rows.columns,
        overwrite=config.overwrite,
        kinds=rows.kinds,
        spreadsheet_safe=config.spreadsheet_safe,
    ) as writer:
        for chunk in chunks(inputs, rows.text_columns):
            answered, was_found = _answered(chunk, rows, store, progress)
            writer.write(answered)
            outcome = add_rows(outcome, answered, was_found=was_found)
        record.write()
    progress.end()
    store.clear()
    if outcome.num_found:
        text = f"{outcome.num_found:,} texts were classified before the interruption, and not again"
        on_event(Note(text))
    return outcome


def chunks(rows: Iterable[Row], text_columns: tuple[str, ...]) -> Iterator[list[Row]]:
    """Yield rows in lists that are small in number and in characters of text."""
    chunk: list[Row] = []
    num_characters = 0
    for row in rows:
        chunk.append(row)
        num_characters += sum(len(row[column] or "") for column in text_columns)
        if len(chunk) == TEXTS_PER_CHUNK or num_characters >= CHARACTERS_PER_CHUNK:
            yield chunk
            chunk, num_characters = [], 0
    if chunk:
        yield chunk


def add_rows(
    outcome: PredictOutcome, answered: list[dict[str, Any]], *, was_found: bool = False
) -> PredictOutcome:
    """Return an outcome with further rows counted."""
    abstained = outcome.num_abstained
    return PredictOutcome(
        outcome.num_texts + len(answered),
        outcome.num_truncated + sum(row["truncated"] for row in answered),
        outcome.num_found + len(answered) * was_found,
        None if abstained is None else abstained + sum(row[ABSTAINED] for row in answered),
    )


class RowProgress:
    """Tells how many rows are done, of how many, over all chunks and inputs.

    The clock starts at the first row that has to be computed: rows whose answers were found take
    no time, and would promise too early an end.

    Args:
        num_rows: to be done; None if nobody knows.
        share_read: tells which share of the inputs has been read; None while unknown.
        on_event: hears it.
    """

    def __init__(
        self,
        num_rows: int | None,
        share_read: Callable[[], float | None],
        on_event: EventCallback,
    ) -> None:
        self._num_rows, self._share_read, self._on_event = num_rows, share_read, on_event
        self._done = self._chunk = 0
        self._total: int | None = None

    def begin_chunk(self, num_rows: int) -> None:
        """Tell that a chunk of rows was read, and will be computed."""
        self._chunk = num_rows
        share = self._share_read()
        read = self._done + num_rows
        self._total = self._num_rows or (round(read / share) if share else None)
        self._tell(0)

    def inside_chunk(self, event: Event) -> None:
        """Tell how far the chunk is that is being computed, in whatever unit it is told."""
        if isinstance(event, Progress) and event.phase == "predict" and event.total:
            self._tell(event.done * self._chunk // event.total)

    def end_chunk(self, num_rows: int) -> None:
        """Count a chunk as done."""
        self._done += num_rows

    def end(self) -> None:
        """Tell that all is done."""
        self._on_event(Progress("predict", self._done, self._done, "rows"))

    def _tell(self, num_rows: int) -> None:
        done = self._done + num_rows
        total = None if self._total is None else max(self._total, done + 1)
        is_estimate = total is not None and self._num_rows is None
        self._on_event(Progress("predict", done, total, "rows", is_estimate=is_estimate))


def _answered(
    chunk: list[Row], rows: RowClassifier, store: AnswerStore, progress: RowProgress
) -> tuple[list[dict[str, Any]], bool]:
    """Return the rows of a chunk with their answers, and whether these were given before."""
    texts = rows.tokenize(chunk)
    answers = store.find(texts)
    was_found = answers is not None
    if answers is None:
        progress.begin_chunk(len(chunk))
        answers = rows.answer(texts, on_event=progress.inside_chunk)
        store.keep(texts, answers)
    progress.end_chunk(len(chunk))
    return rows.append(chunk, texts, answers), was_found
