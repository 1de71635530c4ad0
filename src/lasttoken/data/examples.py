"""An `Example`: one text, its label and where it was found; and examples out of Python objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lasttoken.data.python_labels import is_missing, label_string
from lasttoken.data.tasks import Task
from lasttoken.errors import DatasetError

_SINGLE_LABEL = Task()


@dataclass(frozen=True, slots=True)
class Example:
    """One text with what is known about it.

    Attributes:
        text: the raw string.
        label: the label as written, or None where there is none.
        file: the file or data set it came from, as shown in messages.
        row: 1-based data row in `file` (the header is not counted; 1 for a .txt file).
        extra: the other columns, null cells left out.
    """

    text: str
    label: str | None = None
    file: str = ""
    row: int = 0
    extra: Mapping[str, str] = field(default_factory=dict)


def examples_from_python(
    texts: Iterable[Any], labels: Iterable[Any] | None = None, *, task: Task = _SINGLE_LABEL
) -> tuple[Example, ...]:
    """Make examples of lists, arrays, Series, or columns of a `datasets` data set.

    Args:
        texts: strings; without `labels` also mappings with "text" and "label".
        labels: str, int, bool or numpy scalars, one a text; each becomes `str(label)`. Of a
            multi-label task, sets, lists or tuples of them; of a regression, numbers.
        task: what the labels mean.

    Raises:
        DatasetError: the container is none of the above, a text is missing or no string, a
            label is missing or no scalar, or the two lengths differ.
    """
    _check_container(texts, "texts")
    items = list(texts)
    if labels is None and items and isinstance(items[0], Mapping):
        return _examples_from_mappings(items, _label_names(texts), task)
    checked = [_checked_text(text, position) for position, text in enumerate(items)]
    if labels is None:
        return tuple(Example(text, row=row) for row, text in enumerate(checked, start=1))
    _check_container(labels, "labels")
    names = [label_string(label, position, task) for position, label in enumerate(labels)]
    if len(names) != len(checked):
        raise DatasetError(
            f"{len(checked):,} texts but {len(names):,} labels",
            expected="one label for every text",
            remedy="pass two sequences of equal length",
        )
    pairs = zip(checked, names, strict=True)
    return tuple(Example(text, label, row=row) for row, (text, label) in enumerate(pairs, start=1))


def check_labeled(examples: Sequence[Example]) -> None:
    """Check that examples given from Python carry labels to learn from.

    Raises:
        DatasetError: at least one has none.
    """
    missing = [example for example in examples if example.label is None]
    if not missing:
        return
    # The words by which scikit-learn's users know it.
    found = "no labels: fit requires y to be passed, but the target y is None"
    if any(example.label is not None for example in examples):
        found = f"texts[{missing[0].row - 1}] has no label"
    raise DatasetError(
        found,
        expected="one label for every text",
        remedy="fit(texts, labels), or mappings that all have 'text' and 'label'",
    )


def fold_text(text: str) -> str:
    """Return the form in which two texts count as copies: case and white space folded."""
    return " ".join(text.casefold().split())


def has_lone_surrogate(text: str) -> bool:
    """Return True if `text` holds half a surrogate pair, which no encoding can write."""
    if text.isascii():
        return False
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _check_container(values: object, name: str) -> None:
    is_table = hasattr(values, "iloc") and hasattr(values, "columns")
    is_grid = getattr(values, "ndim", 1) != 1
    if (
        is_table
        or is_grid
        or isinstance(values, str | bytes | Mapping)
        or not isinstance(values, Iterable)
    ):
        shape = f" of {values.ndim} dimensions" if is_grid and hasattr(values, "ndim") else ""
        raise DatasetError(
            f"{name} is one {type(values).__name__}{shape}",
            expected=f"a list of {name}: a list, tuple, 1-d array, Series or column",
            remedy=f'pass one column, such as frame["{name[:-1]}"], or [text] for a single text',
        )


def _examples_from_mappings(items: list[Any], label_names: Any, task: Task) -> tuple[Example, ...]:  # noqa: ANN401 - a `datasets` ClassLabel or None
    examples = []
    for position, item in enumerate(items):
        if not isinstance(item, Mapping) or "text" not in item:
            held = sorted(map(str, item)) if isinstance(item, Mapping) else type(item).__name__
            raise DatasetError(
                f"texts[{position}] has no 'text': {held}",
                expected="mappings with 'text' and 'label'",
                remedy="rename the columns, or pass texts and labels as two sequences",
            )
        label = item.get("label")
        if "label" in item:
            if label_names is not None and isinstance(label, int) and label >= 0:
                label = label_names.int2str(int(label))
            label = label_string(label, position, task)
        text = _checked_text(item["text"], position)
        extra = {
            str(key): str(value)
            for key, value in item.items()
            if key not in ("text", "label") and not is_missing(value)
        }
        examples.append(Example(text, label, row=position + 1, extra=extra))
    return tuple(examples)


def _label_names(texts: object) -> Any:  # noqa: ANN401 - a `datasets` ClassLabel or None
    features = getattr(texts, "features", None)
    label = features.get("label") if isinstance(features, Mapping) else None
    return label if hasattr(label, "int2str") else None


def _checked_text(text: object, position: int) -> str:
    if isinstance(text, str):
        if has_lone_surrogate(text):
            raise DatasetError(
                f"texts[{position}] holds half a surrogate pair: {text[:40]!r}",
                expected="text that can be written as UTF-8",
                remedy="text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')",
            )
        return str(text)  # numpy's and other subclasses become plain strings
    found = "missing" if is_missing(text) else f"of type {type(text).__name__}: {text!r:.60}"
    raise DatasetError(
        f"texts[{position}] is {found}",
        expected="a string in every place",
        remedy="leave these rows out, or turn them into strings first",
    )
