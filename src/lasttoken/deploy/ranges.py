"""Ranges of rows, classified wherever there is a worker.

Nothing here knows who runs the workers. What is wrong with a row or a model, and how many rows were
skipped, goes home in rows of their own, because of an exception in a worker the text alone arrives.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lasttoken.config import PredictConfig
from lasttoken.data.parquet import arrow_table
from lasttoken.data.tables import iter_rows
from lasttoken.deploy.opening import opener_of
from lasttoken.errors import LastTokenError, RunError
from lasttoken.events import BadRows, Event, ignore
from lasttoken.runs.predict import chunks
from lasttoken.runs.row_classifier import RowClassifier, make_row_classifier

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FIELDS = ("path", "start", "stop")
_MESSAGE = "lasttoken:message"  # a column beside the table's own; null in rows with answers

# What answers depend on and workers must agree in with the process that writes; devices may differ.
_AGREED = ("weights", "precision", "temperature")


@dataclass(frozen=True)
class RangeJob:
    """What every worker is told.

    Attributes:
        config: with paths that hold everywhere, columns and precision decided.
        input_columns: of the rows that are read.
        columns: of the rows that are given back.
        kinds: types of the appended columns.
        context: what decides answers beside the texts, as the process that writes has it.
    """

    config: PredictConfig
    input_columns: tuple[str, ...]
    columns: tuple[str, ...]
    kinds: Mapping[str, type]
    context: Mapping[str, str]


def divide(paths: Sequence[str], counts: Sequence[int], size: int) -> list[dict[str, Any]]:
    """Divide files into ranges of at most `size` rows, in their order.

    Args:
        paths: of the files.
        counts: rows of each.
        size: rows of a range.
    """
    return [
        {"path": path, "start": start, "stop": min(start + size, count)}
        for path, count in zip(paths, counts, strict=True)
        for start in range(0, count, size)
    ]


class RangeClassifier:
    """A worker: reads ranges of rows and classifies them. The model is loaded at the first one."""

    def __init__(self, job: RangeJob) -> None:
        self._job = job
        self._rows: RowClassifier | None = None

    def __call__(self, ranges: Mapping[str, NDArray[Any]]) -> Iterator[Any]:
        """Yield Arrow tables: the rows of some ranges with their answers, a chunk at a time.

        Messages for `Received` stand between the rows.

        Args:
            ranges: for each field of a range its values.
        """
        columns = (*self._job.columns, _MESSAGE)
        empty = dict.fromkeys(columns)
        for given in self._classify(ranges):
            rows = [{**empty, **row} for row in given]
            yield arrow_table(rows, columns, self._job.kinds)

    def _classify(self, ranges: Mapping[str, NDArray[Any]]) -> Iterator[list[dict[str, Any]]]:
        try:
            for path, start, stop in zip(*(ranges[field] for field in _FIELDS), strict=True):
                yield from self._classify_range(str(path), range(int(start), int(stop)))
        except LastTokenError as error:
            yield [_message(error=(error.found, error.expected, error.remedy))]

    def _classify_range(self, path: str, places: range) -> Iterator[list[dict[str, Any]]]:
        self._rows = rows = self._rows or _open(self._job)
        events: list[Event] = []
        reader = iter_rows(
            path,
            format="parquet",
            skip_bad_rows=self._job.config.skip_bad_rows,
            rows=places,
            on_event=events.append,
        ).require(*rows.text_columns)
        for chunk in chunks((row for _, row in reader), rows.text_columns):
            texts = rows.tokenize(chunk)
            yield rows.append(chunk, texts, rows.answer(texts))
        for event in events:
            if isinstance(event, BadRows):
                yield [_message(skipped=(event.file, event.count, event.rows, event.text))]


class Received:
    """What came home from the workers: rows with answers, and messages.

    Attributes:
        skipped: for each file with bad rows what to tell of them.
    """

    def __init__(self) -> None:
        self.skipped: dict[str, BadRows] = {}

    def rows_of(self, given: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the rows with answers; count the skipped ones.

        Raises:
            LastTokenError: what a worker could not do.
        """
        rows = []
        for row in given:
            message = row.pop(_MESSAGE)
            if message is None:
                rows.append(row)
                continue
            content = json.loads(message)
            if "error" in content:
                found, expected, remedy = content["error"]
                raise RunError(found, expected=expected, remedy=remedy)
            self._count(*content["skipped"])
        return rows

    def _count(self, file: str, count: int, rows: Sequence[int], text: str) -> None:
        before = self.skipped.get(file)
        first = text.partition("; first ")[2]
        if before is not None:  # ranges come in their order
            count, rows = before.count + count, before.rows
            first = before.text.partition("; first ")[2]
        plural = "s" if count > 1 else ""
        text = f"{file}: {count:,} bad row{plural} skipped; first {first}"
        self.skipped[file] = BadRows(text, True, file, count, tuple(rows))


def _message(**content: object) -> dict[str, Any]:
    return {_MESSAGE: json.dumps(content)}


def _open(job: RangeJob) -> RowClassifier:
    """Load the model.

    Raises:
        LastTokenError: it is not here, or not the same as where the output is written.
    """
    config = job.config
    opened = opener_of(config.run)(config, ignore)
    rows = make_row_classifier(opened, config, job.input_columns, [], config.input[0])
    context = rows.context
    for key in _AGREED:
        if context[key] != job.context[key]:
            raise RunError(
                f"{job.config.run}: {key} {context[key]} for one worker, {job.context[key]} where "
                "the output is written",
                expected="the same model everywhere",
                remedy="put the run into a folder that all machines share",
            )
    return rows
