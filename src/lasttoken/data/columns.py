"""The columns that hold text and label: as given, or guessed and told."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lasttoken.errors import DatasetError
from lasttoken.events import EventCallback, Note, ignore

# In order of preference: "text" wins over "title" where a table has both.
TEXT_NAMES = (
    "text", "sentence", "review", "content", "message", "body", "comment", "document",
    "question", "title", "description", "utterance",
)  # fmt: skip
LABEL_NAMES = (
    "label", "labels", "class", "category", "sentiment", "target", "intent", "topic", "y", "tag",
    "stars", "rating",
)  # fmt: skip

# A guess is doubted only where the sample is large enough to speak.
_ENOUGH_ROWS = 10

SampleRows = Sequence[Mapping[str, str | None]]


class ColumnChoice(NamedTuple):
    """The chosen columns; `label` is None where none is needed, `pair` where texts stand alone."""

    text: str
    label: str | None
    pair: str | None = None


def choose_columns(
    columns: Sequence[str],
    sample_rows: SampleRows,
    text_column: str | None = None,
    label_column: str | None = None,
    pair_column: str | None = None,
    *,
    need_label: bool = True,
    source: str = "",
    on_event: EventCallback = ignore,
) -> ColumnChoice:
    """Choose the text and label columns of a table.

    Args:
        columns: the column names in their order.
        sample_rows: some rows of the table; guesses look into them.
        text_column: the user's choice, or None to guess.
        label_column: the user's choice, or None to guess.
        pair_column: of a second text, which is never guessed; None where texts stand alone.
        need_label: False for prediction, which needs a text only.
        source: the file's name, for messages.
        on_event: told each guess in a `Note`.

    Raises:
        DatasetError: a given column is not there, one is given twice, or none can be guessed.
    """
    where = f"{source}: " if source else ""
    flags = ("--text-column", "--label-column", "--text-pair-column")
    for flag, given in zip(flags, (text_column, label_column, pair_column), strict=True):
        if given is not None and given not in columns:
            raise missing_column(columns, given, flag, where)
    if text_column is not None and text_column == label_column:
        raise _one_for_both(columns, text_column, where)
    if pair_column is not None:
        if pair_column in (text_column, label_column):
            raise _taken_for_pair(columns, pair_column, where)
        columns = [column for column in columns if column != pair_column]
    text = text_column or _known(columns, TEXT_NAMES, (label_column,))
    label = label_column or _known(columns, LABEL_NAMES, (text,))
    if len(columns) == 1 and not need_label:
        text = text or columns[0]
    if len(columns) == 2:
        text, label = _fill_two(columns, sample_rows, text, label, where)
    if text is None:
        raise _cannot_guess(columns, "--text-column", where)
    if need_label and label is None:
        raise _cannot_guess([name for name in columns if name != text], "--label-column", where)
    if text_column is None:
        _check_guessed_text(text, sample_rows, where)
        _tell("text", text, on_event)
    if need_label and label_column is None and label is not None:
        _check_guessed_label(label, sample_rows, where)
        _tell("label", label, on_event)
    return ColumnChoice(text, label if need_label or label_column else None, pair_column)


def missing_column(columns: Sequence[str], given: str, flag: str, where: str) -> DatasetError:
    """Return the error for a column that a table does not have."""
    folded = {name.strip().casefold(): name for name in columns}
    near = difflib.get_close_matches(given.strip().casefold(), folded, n=1, cutoff=0.6)
    return DatasetError(
        f"{where}no column {given!r}",
        expected="one of " + ", ".join(repr(name) for name in columns),
        remedy=f"did you mean {flag} {_quoted(folded[near[0]])}?" if near else f"{flag} NAME",
    )


def _one_for_both(columns: Sequence[str], given: str, where: str) -> DatasetError:
    # The flag to change is the one whose column does not sound like what it was given for.
    kind, names = ("label", LABEL_NAMES)
    if _known([given], LABEL_NAMES, ()):
        kind, names = ("text", TEXT_NAMES)
    others = [name for name in columns if name != given]
    other = _known(others, names, ()) or (others[0] if len(others) == 1 else None)
    return DatasetError(
        f"{where}column {given!r} is given as the text and as the label",
        expected="two columns out of " + ", ".join(repr(name) for name in columns),
        remedy=f"--{kind}-column {_quoted(other) if other else 'NAME'}",
    )


def _taken_for_pair(columns: Sequence[str], given: str, where: str) -> DatasetError:
    return DatasetError(
        f"{where}column {given!r} is given as the second text and as the text or the label",
        expected="three columns out of " + ", ".join(repr(name) for name in columns),
        remedy="--text-pair-column NAME",
    )


def _known(
    columns: Sequence[str], names: Sequence[str], taken: tuple[str | None, ...]
) -> str | None:
    folded: dict[str, str] = {}
    for column in columns:
        if column not in taken:
            folded.setdefault(column.strip().casefold(), column)
    return next((folded[name] for name in names if name in folded), None)


def _fill_two(
    columns: Sequence[str],
    rows: SampleRows,
    text: str | None,
    label: str | None,
    where: str,
) -> tuple[str, str]:
    first, second = columns
    if text is not None:
        return text, second if text == first else first
    if label is not None:
        return second if label == first else first, label
    if _mean_length(first, rows) >= _mean_length(second, rows):
        text, label = first, second
    else:
        text, label = second, first
    if any(row.get(label) == label for row in rows):
        raise DatasetError(
            f"{where}the first line looks like data, not like column names: "
            f"{label!r} is a value of its own column",
            expected="a first line that names the columns",
            remedy="add a line such as text,label on top of the file",
        )
    return text, label


def _mean_length(column: str, rows: SampleRows) -> float:
    return sum(len(row.get(column) or "") for row in rows) / max(1, len(rows))


def _check_guessed_text(text: str, rows: SampleRows, where: str) -> None:
    values = [value for row in rows if (value := row.get(text))]
    if values and all(_is_number(value) for value in values):
        raise DatasetError(
            f"{where}column {text!r}, guessed to be the text, holds only numbers, "
            f"such as {values[0]!r}",
            expected="a column of texts",
            remedy=f"--text-column NAME (--text-column {_quoted(text)} if it is right)",
        )


def _check_guessed_label(label: str, rows: SampleRows, where: str) -> None:
    if label.strip().casefold() in LABEL_NAMES or len(rows) < _ENOUGH_ROWS:
        return
    if len({row.get(label) for row in rows}) == len(rows):
        raise DatasetError(
            f"{where}column {label!r}, guessed to be the label, has another value in every row",
            expected="a column in which labels repeat",
            remedy="--label-column NAME",
        )


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _cannot_guess(columns: Sequence[str], flag: str, where: str) -> DatasetError:
    kind = flag.removeprefix("--").removesuffix("-column")
    names = TEXT_NAMES if kind == "text" else LABEL_NAMES
    shown = ", ".join(repr(name) for name in columns) or "none"
    if not columns:
        remedy = "a table with text and label, or a folder a label: pos/*.txt, neg/*.txt"
    else:
        remedy = f"{flag} {_quoted(columns[0]) if len(columns) == 1 else 'NAME'}"
    return DatasetError(
        f"{where}no column is known as the {kind}; the columns are {shown}",
        expected=f"a column named {kind}, or one of " + ", ".join(names[1:]),
        remedy=remedy,
    )


def _tell(kind: str, column: str, on_event: EventCallback) -> None:
    how = "" if column == kind else f" (guessed; --{kind}-column changes it)"
    on_event(Note(f"{kind} column: {column!r}{how}"))


def _quoted(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() else repr(name)
