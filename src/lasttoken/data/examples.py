"""An `Example`: one text, its label and where it was found; and examples out of Python objects."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lasttoken.errors import DatasetError


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
    texts: Iterable[Any], labels: Iterable[Any] | None = None
) -> tuple[Example, ...]:
    """Make examples of lists, arrays, Series, or columns of a `datasets` data set.

    Args:
        texts: strings; without `labels` also mappings with "text" and "label".
        labels: str, int, bool or numpy scalars, one a text; each becomes `str(label)`.

    Raises:
        DatasetError: the container is none of the above, a text is missing or no string, a
            label is missing or no scalar, or the two lengths differ.
    """
    _check_container(texts, "texts")
    items = list(texts)
    if labels is None and items and isinstance(items[0], Mapping):
        return _examples_from_mappings(items, _label_names(texts))
    checked = [_checked_text(text, position) for position, text in enumerate(items)]
    if labels is None:
        return tuple(Example(text, row=row) for row, text in enumerate(checked, start=1))
    _check_container(labels, "labels")
    names = [_checked_label(label, position) for position, label in enumerate(labels)]
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


def _examples_from_mappings(items: list[Any], label_names: Any) -> tuple[Example, ...]:  # noqa: ANN401 - a `datasets` ClassLabel or None
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
            label = _checked_label(label, position)
        text = _checked_text(item["text"], position)
        extra = {
            str(key): str(value)
            for key, value in item.items()
            if key not in ("text", "label") and not _is_missing(value)
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
    found = "missing" if _is_missing(text) else f"of type {type(text).__name__}: {text!r:.60}"
    raise DatasetError(
        f"texts[{position}] is {found}",
        expected="a string in every place",
        remedy="leave these rows out, or turn them into strings first",
    )


def _checked_label(label: object, position: int) -> str:
    if hasattr(label, "item") and getattr(label, "ndim", 0) == 0:
        label = label.item()
    if _is_missing(label) or label == "":
        found = "empty" if label == "" else "missing"
    elif isinstance(label, str | bool | int | float):
        return str(label)
    else:
        found = f"of type {type(label).__name__}: {label!r:.60}"
    raise DatasetError(
        f"labels[{position}] is {found}",
        expected="a string, an integer or a bool in every place",
        remedy="leave these rows out, or give them a label",
    )


def _is_missing(value: object) -> bool:
    # pandas' own marks are known by name, so that pandas need not be there.
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, numbers.Real) and value != value
