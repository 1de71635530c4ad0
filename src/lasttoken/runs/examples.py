"""A run's labeled examples: read, split, checked for broken Unicode; the same again on demand."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from lasttoken.config import CheckConfig, TrainConfig
from lasttoken.config.tasks import split_names
from lasttoken.data.check import FEW_EXAMPLES, check_examples
from lasttoken.data.examples import Example
from lasttoken.data.readers import LabeledData, read_labeled
from lasttoken.data.splits import Splits, split_examples
from lasttoken.data.tasks import Task, kind_of
from lasttoken.data.unicode import check_unicode
from lasttoken.data.written import to_number
from lasttoken.errors import ConfigError, DatasetError
from lasttoken.events import EventCallback, Note, ignore
from lasttoken.model.tokens import TokenizedTexts

# Numbers lie far from 0 from so many of their standard deviations on. Chosen here: stars from 1 to
# 5 lie some 3 from 0; years, some 200, were learned worse than always answering their mean.
_FAR = 5

# Told while the data is read and split, or by the test examples of a label; and notes.
_NOT_LOOKED_FOR = frozenset({"shared_texts", "broken_unicode", "rare_labels", "copies", "lengths"})


class Columns(NamedTuple):
    """Where text, label and second text stand; None where that is left to a guess, or nowhere."""

    text: str | None
    label: str | None
    pair: str | None = None


@dataclass(frozen=True)
class RunExamples:
    """The splits of a run, the columns they came from, and what their labels mean."""

    splits: Splits
    text_column: str | None
    label_column: str | None
    pair_column: str | None
    task: Task


def task_of_settings(config: TrainConfig | CheckConfig) -> Task:
    """Return what the labels mean, as the flags say."""
    return Task(
        kind_of(config.task),
        config.label_separator,
        split_names(config.label_order) or None,
        split_names(config.label_columns),
    )


def read_examples(config: TrainConfig, on_event: EventCallback = ignore) -> RunExamples:
    """Read and split the data of a run; the same settings and files give the same examples.

    Raises:
        DatasetError: the data is not as described.
    """
    given = Columns(config.text_column, config.label_column, config.text_pair_column)
    task = task_of_settings(config)

    def read(source: str, columns: Columns) -> LabeledData:
        return read_labeled(
            source,
            text_column=columns.text,
            label_column=columns.label,
            pair_column=columns.pair,
            task=task,
            encoding=config.encoding,
            skip_bad_rows=config.skip_bad_rows,
            on_event=on_event,
        )

    data = read(config.data, given)
    known = Columns(data.text_column, data.label_column, data.pair_column)

    def read_other(source: str, split: str) -> Sequence[Example]:
        other = read_alike(lambda columns: read(source, columns), given, known, on_event)
        return other.splits.get(split) or other.all_examples()

    splits = split_examples(
        data.splits,
        validation=config.validation,
        test=config.test,
        limit=config.limit,
        seed=config.seed,
        read_other=read_other,
        task=task,
        on_event=on_event,
    )
    checked = Splits(
        *(
            check_unicode(examples, fix=config.fix_text, on_event=on_event)
            for examples in (splits.train, splits.validation, splits.test)
        )
    )
    task = replace(task, name=data.label_column or task.name)
    return RunExamples(checked, data.text_column, data.label_column, data.pair_column, task)


def read_alike(
    read: Callable[[Columns], LabeledData],
    given: Columns,
    known: Columns,
    on_event: EventCallback,
) -> LabeledData:
    """Read further data with the columns given, else those known from training, else by guess.

    Args:
        read: reads it with these columns.
        given: by the user: must be there.
        known: where training found its text, label and second text; the last is never guessed.
        on_event: told when the known columns are not there.

    Raises:
        DatasetError: the data is not as described.
    """
    # What training knew gives way where the user now gives that very column for the other.
    hoped = Columns(
        given.text or (known.text if known.text != given.label else None),
        given.label or (known.label if known.label != given.text else None),
        given.pair or known.pair,
    )
    try:
        return read(hoped)
    except DatasetError as error:
        absent = [new for new, old in zip(hoped[:2], given[:2], strict=True) if new and not old]
        if not any(f"no column {column!r}" in error.found for column in absent):
            raise
    on_event(Note("the columns of training are not there; guessing others", is_warning=True))
    return read(given._replace(pair=hoped.pair))


def tell_examples(data: RunExamples, on_event: EventCallback) -> None:
    """Tell each split's size and labels, what `lasttoken check` warns of, and rough scores."""
    splits = {name: getattr(data.splits, name) for name in ("train", "validation", "test")}
    counts_of = tell_counts(splits, data.task, on_event)
    tell_findings(splits, data.task, on_event)
    if data.task.kind == "regression":
        _tell_far_from_zero([str(example.label) for example in data.splits.train], on_event)
    rare = sorted(label for label in counts_of["train"] if counts_of["test"][label] < FEW_EXAMPLES)
    if rare:
        shown = ", ".join(rare[:5]) + (f" and {len(rare) - 5} more" if len(rare) > 5 else "")
        text = f"fewer than {FEW_EXAMPLES} test examples of: {shown}; their scores are rough"
        on_event(Note(text, is_warning=True))


def _tell_far_from_zero(labels: Sequence[str], on_event: EventCallback) -> None:
    """Warn of numbers such as years: a head, as stock classifiers have it, has no intercept."""
    numbers = np.array([to_number(label) for label in labels])
    mean, spread = float(numbers.mean()), float(numbers.std())
    if abs(mean) > _FAR * spread > 0:
        text = (
            f"the numbers lie {abs(mean) / spread:.0f} times as far from 0 as from each other "
            f"(mean {mean:g}, standard deviation {spread:g}), and a head has no constant to add: "
            f"{'subtract' if mean > 0 else 'add'} {abs(mean):.4g} "
            f"{'from' if mean > 0 else 'to'} all of them, or expect large errors"
        )
        on_event(Note(text, is_warning=True))


def tell_counts(
    splits: Mapping[str, Sequence[Example]], task: Task, on_event: EventCallback
) -> dict[str, Counter[str]]:
    """Tell each split's size and commonest labels; return how often each label stands in it."""
    counts_of = {}
    for name, examples in splits.items():
        labels = [str(example.label) for example in examples]
        counts_of[name] = Counter(each for label in labels for each in task.names(label))
        on_event(Note(f"{name}: {len(examples):,} examples ({task.describe(labels)})"))
    return counts_of


def tell_findings(
    splits: Mapping[str, Sequence[Example]], task: Task, on_event: EventCallback
) -> None:
    """Tell what `lasttoken check` warns of and is told nowhere else."""
    for finding in check_examples(splits, task, leave_out=_NOT_LOOKED_FOR):
        if finding.severity == "warning":
            text = f"{finding.found} (lasttoken check tells the rows)"
            on_event(Note(text, is_warning=True))


def describe_lengths(name: str, texts: TokenizedTexts) -> str:
    """Return a line on token lengths and on what was cut."""
    limit = texts.reading.max_length
    quartiles = np.percentile(texts.num_tokens, [0, 25, 50, 75, 100]).astype(int)
    cut_texts = int(texts.truncated.sum())
    cut_tokens = int((texts.num_tokens - texts.lengths).clip(min=0).sum())
    line = (
        f"{name}: tokens per text {quartiles[0]} to {quartiles[4]}, "
        f"quartiles {quartiles[1]}, {quartiles[2]}, {quartiles[3]}; "
    )
    if not cut_texts:
        divided = int((texts.num_windows > 1).sum())
        if divided:
            return line + (
                f"{divided:,} texts ({divided / len(texts):.1%}) are read in windows of "
                f"{limit}, at most {texts.num_windows.max()}"
            )
        return line + f"none is cut at {limit}"
    return line + (
        f"{cut_texts:,} texts ({cut_texts / len(texts):.1%}) are cut at {limit}, "
        f"which drops {cut_tokens / texts.num_tokens.sum():.1%} of all tokens"
    )


def slice_columns(setting: str | None, examples: Sequence[Example]) -> tuple[str, ...]:
    """Return the columns that `--slice-by` names: one whose name is just that, or several.

    Raises:
        ConfigError: no example has such a column.
    """
    known = sorted({column for example in examples for column in example.extra})
    if setting is None or setting in known:
        return () if setting is None else (setting,)
    columns = tuple(column.strip() for column in setting.split(",") if column.strip())
    for column in columns:
        if column not in known:
            near = difflib.get_close_matches(column, known, n=1)
            raise ConfigError(
                f"--slice-by {setting}: the test examples have no column {column!r}",
                expected="one of " + ", ".join(map(repr, known[:10]))
                if known
                else "data with more columns than text and label",
                remedy=f"did you mean {near[0]!r}?" if near else "leave --slice-by out",
            )
    return columns
