"""Labeled data from any source: a sample, a file, a folder, or a Hub data set."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from lasttoken.data.columns import ColumnChoice, choose_columns, missing_column
from lasttoken.data.examples import Example, examples_from_python
from lasttoken.data.files import STDIN, check_encoding, find_path
from lasttoken.data.folders import SPLIT_OF, read_tree
from lasttoken.data.hub import HUB_ID, check_hub, hub_readers
from lasttoken.data.label_cells import check_label_columns, label_of, placed, sets_hint
from lasttoken.data.movie_reviews import NAME as SAMPLE_NAME
from lasttoken.data.movie_reviews import read_movie_reviews
from lasttoken.data.rows import RowReader
from lasttoken.data.tables import FORMAT_OF, iter_rows
from lasttoken.data.tasks import Task
from lasttoken.errors import DatasetError
from lasttoken.events import EventCallback, Note, Progress, ignore

__all__ = [
    "LabeledData",
    "RowReader",
    "choose_columns",
    "examples_from_python",
    "iter_rows",
    "locate_data",
    "read_labeled",
]

_PROGRESS_ROWS = 1000
_SINGLE_LABEL = Task()
_FLAGS = ("--text-column", "--label-column", "--text-pair-column")


class _GivenColumns(NamedTuple):
    """The user's choices; None is left to a guess."""

    text: str | None
    label: str | None
    pair: str | None


@dataclass(frozen=True, slots=True)
class LabeledData:
    """All labeled examples of one source.

    Attributes:
        name: short, fit for a folder's name.
        splits: examples by "train", "validation" and "test"; "train" alone if it is not split.
        text_column: the column that held the text, or None where there are no columns.
        label_column: the column that held the label, or None where there are no columns.
        pair_column: the column that held the second text, or None where there is none.
    """

    name: str
    splits: Mapping[str, tuple[Example, ...]]
    text_column: str | None = None
    label_column: str | None = None
    pair_column: str | None = None

    def all_examples(self) -> tuple[Example, ...]:
        """Return the examples of all splits, one split after the other."""
        return tuple(example for split in self.splits.values() for example in split)


def read_labeled(
    data: str,
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    pair_column: str | None = None,
    task: Task = _SINGLE_LABEL,
    encoding: str = "utf-8",
    skip_bad_rows: bool = False,
    on_event: EventCallback = ignore,
) -> LabeledData:
    """Read labeled text from wherever `data` says, in one fixed order.

    Args:
        data: movie-reviews, a table, a folder of tables, a tree of .txt files, or a Hub id.
        text_column: guessed from the column names if None.
        label_column: guessed from the column names if None.
        pair_column: of a second text; None where texts stand alone.
        task: what the labels mean; may name one column for each label.
        encoding: of text files; a byte order mark wins over it.
        skip_bad_rows: leave out and count the rows that cannot be used.
        on_event: told the progress, the guesses, and what was left out.

    Raises:
        DatasetError: nothing is there, or a file, column, row, text or label cannot be used.
    """
    check_encoding(encoding)
    given = _GivenColumns(text_column, label_column, pair_column)
    if data == SAMPLE_NAME:
        if Path(data).exists():
            on_event(Note(f"{data} is the sample; the local path is ./{data}", is_warning=True))
        _refuse_pair_column(data, pair_column)
        check_label_columns((), task, label_column, data)
        return LabeledData(SAMPLE_NAME, _canonical(read_movie_reviews(on_event), task))
    path = Path(data).expanduser()
    if not path.exists() and not _is_path_like(data):
        readers = hub_readers(data, skip_bad_rows=skip_bad_rows, on_event=on_event)
        return _read_tables(data.replace("/", "-"), readers, given, task, on_event)
    path = find_path(data)
    if path.is_dir():
        files = _split_tables(path)
        if not files:
            _refuse_pair_column(data, pair_column)
            check_label_columns((), task, label_column, data)
            splits = _canonical(read_tree(path, encoding=encoding, on_event=on_event), task)
            return LabeledData(Path(os.path.abspath(path)).name, splits)
        name = Path(os.path.abspath(path)).name
    else:
        files = {"train": path}
        name = path.stem
    readers = {
        split: iter_rows(
            str(file), encoding=encoding, skip_bad_rows=skip_bad_rows, on_event=on_event
        )
        for split, file in files.items()
    }
    return _read_tables(name, readers, given, task, on_event)


def locate_data(data: str) -> None:
    """Check cheaply that `data` is there, before anything slow; fetches nothing.

    Raises:
        DatasetError: no such path, and no such Hub data set, cached or reachable; or an archive.
    """
    if data == SAMPLE_NAME:
        return
    path = Path(data).expanduser()
    if path.exists():
        find_path(data)  # which no archive is
        return
    if _is_path_like(data) or not HUB_ID.fullmatch(data):
        find_path(data)  # raises: the path does not exist
    check_hub(data)


def _is_path_like(data: str) -> bool:
    first, *rest = data.split("/")
    return (
        Path(data).suffix.lower() in FORMAT_OF
        or data.startswith((".", "/", "~"))
        or "\\" in data
        or data == STDIN  # labeled data is read more than once, so it never comes by a pipe
        or len(rest) > 1
        or (bool(rest) and Path(first).is_dir())
        or not HUB_ID.fullmatch(data)
    )


def _split_tables(folder: Path) -> dict[str, Path]:
    tables = sorted(
        (
            file
            for file in folder.iterdir()
            if file.is_file()
            and not file.name.startswith(".")
            # A .txt file beside label folders is a README, not a table.
            and FORMAT_OF.get(file.suffix.lower(), "text") != "text"
        ),
        key=lambda file: file.name,
    )
    files: dict[str, Path] = {}
    for file in tables:
        split = SPLIT_OF.get(file.stem.lower())
        if split in files:
            raise DatasetError(
                f"{folder}: two {split} files: {files[split].name} and {file.name}",
                expected="one file a split",
                remedy=f"name the file that you mean: {file}",
            )
        if split is not None:
            files[split] = file
    if tables and not files:
        raise DatasetError(
            f"{folder}: a folder with {tables[0].name}, but no train, validation or test file",
            expected="files named train, validation and test, or a folder a label",
            remedy=f"name the file itself: {tables[0]}",
        )
    # Training first: its columns are the ones that the other files must have.
    order = list(dict.fromkeys(SPLIT_OF.values()))
    return dict(sorted(files.items(), key=lambda item: order.index(item[0])))


def _read_tables(
    name: str,
    readers: Mapping[str, RowReader],
    given: _GivenColumns,
    task: Task,
    on_event: EventCallback,
) -> LabeledData:
    first = next(iter(readers.values()))
    check_label_columns(first.columns, task, given.label, first.name)
    chosen = choose_columns(
        [column for column in first.columns if column not in task.columns],
        first.sample,
        *given,
        need_label=not task.columns,
        source=first.name,
        on_event=on_event,
    )
    hint = None if chosen.label is None else sets_hint(first.sample, chosen.label)
    if hint is not None and task.kind == "single_label":
        on_event(Note(hint, is_warning=True))
    splits = {
        split: _read_table(reader, chosen, task, split, on_event)
        for split, reader in readers.items()
    }
    return LabeledData(name, splits, *chosen)


def _read_table(
    reader: RowReader, chosen: ColumnChoice, task: Task, split: str, on_event: EventCallback
) -> tuple[Example, ...]:
    text_column, label_column, pair_column = chosen
    check_label_columns(reader.columns, task, label_column, reader.name)
    for column, flag in zip(chosen, _FLAGS, strict=True):
        if column is not None and column not in reader.columns:
            raise missing_column(reader.columns, column, flag, f"{reader.name}: ")
    label_columns = task.columns if label_column is None else (label_column,)
    pair_columns = () if pair_column is None else (pair_column,)
    needed = (text_column, *label_columns, *pair_columns)
    examples = []
    for number, row in reader.require(*needed):
        try:
            label = label_of(row, label_column, task, f"{reader.name}: row {number:,}")
        except DatasetError as error:
            reader.fault(number, error)
            continue
        extra = {
            key: value for key, value in row.items() if value is not None and key not in needed
        }
        text = str(row[text_column])
        pair = None if pair_column is None else row[pair_column]
        examples.append(Example(text, label, reader.name, number, extra, pair))
        if len(examples) % _PROGRESS_ROWS == 0:
            on_event(Progress("read", len(examples), None, "rows", split))
    if not examples:
        raise DatasetError(
            f"{reader.name}: no usable row among {reader.skipped:,}",
            expected="at least one row with a text and a label",
            remedy="check --text-column and --label-column",
        )
    on_event(Progress("read", len(examples), len(examples), "rows", split))
    return tuple(examples)


def _canonical(
    splits: Mapping[str, tuple[Example, ...]], task: Task
) -> dict[str, tuple[Example, ...]]:
    """Return examples, whose labels name folders or come with a sample, as the task has them."""
    return {
        split: tuple(
            replace(e, label=placed(str(e.label), task, f"{e.file}: row {e.row:,}"))
            for e in examples
        )
        for split, examples in splits.items()
    }


def _refuse_pair_column(data: str, pair_column: str | None) -> None:
    if pair_column is not None:
        raise DatasetError(
            f"{data}: has no columns, so no column {pair_column!r} of second texts",
            expected="a table: .csv, .tsv, .jsonl or .parquet",
            remedy="leave --text-pair-column out, or name a table",
        )
